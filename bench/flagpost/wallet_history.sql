-- The newest jobs of the n-th wallet, as a screen about it lists them.
SELECT j.id, j.job_type, j.status, j.triggered_by, j.error_message, j.data, j.created_at, j.completed_at
FROM wallets w
JOIN job_logs j ON j.wallet_address = w.address
WHERE w.id = ('00000000-0000-7000-8000-' || lpad(to_hex(%(wallet)s::bigint), 12, '0'))::uuid
ORDER BY j.created_at DESC
LIMIT 50

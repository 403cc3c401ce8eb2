-- Jobs as the sweep has moved them: they ended more than 30 days and less than a year ago, two in a thousand as dead letters, under
-- the names that the queue gives.
--
-- Without triggers, and without most indexes. Keys grow with n.
INSERT INTO job_history (id, seq, job_id, job_type, status, wallet_address, wallet_id, chain_id, triggered_by, priority, data, retry_count,
                         max_retries, run_at, lease, started_at, completed_at, created_at, updated_at)
SELECT (lpad(to_hex(n * 4294967295 / %(jobs)s::bigint), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       n, 'gas-topup-' || n, 'gas-topup', CASE WHEN n %% 500 = 0 THEN 'failed' ELSE 'completed' END, w.address, w.id, w.chain_id,
       'event', 0, jsonb_build_object('flagged_at', ended.at, 'wait_ms', 1.234, 'duration_ms', 5.678), 0, 5,
       ended.at, 1, ended.at, ended.at, ended.at, ended.at
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
JOIN wallets w ON w.id = ('00000000-0000-7000-8000-' || lpad(to_hex(1 + n %% %(wallets)s), 12, '0'))::uuid
CROSS JOIN LATERAL (
    SELECT now() - interval '31 days' - (%(jobs)s - n) * (interval '334 days' / %(jobs)s::bigint) AS at
) AS ended

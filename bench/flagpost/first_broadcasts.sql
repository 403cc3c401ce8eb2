-- What was paid for these wallets: when each payment was first broadcast and its job completed, in seconds since 1970.
SELECT t.wallet_id, t.kind, t.state, j.status,
       extract(epoch FROM min(x.first_broadcast_at))::float8 AS broadcast_at,
       extract(epoch FROM j.completed_at)::float8 AS completed_at
FROM transfers t
JOIN job_logs j ON j.id = t.job_id
LEFT JOIN chain_transactions x ON x.bundle_id = t.bundle_id
WHERE t.wallet_id = ANY (%(wallets)s::uuid[]) AND t.state <> 'rejected'
GROUP BY t.id, j.id

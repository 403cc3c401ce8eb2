-- Jobs that ended over the last year, two in a thousand of them as dead letters that rest no longer.
--
-- Without triggers. Keys grow with n, so that the indexes are written from left to right, and are spread over the whole
-- range of random ones.
INSERT INTO job_logs (id, seq, job_id, job_type, status, wallet_address, wallet_id, chain_id, triggered_by, data, retry_count,
                      run_at, lease, started_at, completed_at, created_at, updated_at, queued)
SELECT (lpad(to_hex(n * 4294967295 / %(jobs)s::bigint), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       n, 'finished-' || lpad(n::text, 12, '0'), 'gas-topup',
       CASE WHEN n %% 500 = 0 THEN 'failed' ELSE 'completed' END, w.address, w.id, w.chain_id, 'event',
       jsonb_build_object('flagged_at', ended.at, 'wait_ms', 1.234, 'duration_ms', 5.678), 0,
       ended.at, 1, ended.at, ended.at, ended.at, ended.at, false
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
JOIN wallets w ON w.id = ('00000000-0000-7000-8000-' || lpad(to_hex(1 + n %% %(wallets)s), 12, '0'))::uuid
CROSS JOIN LATERAL (
    SELECT now() - interval '2 hours' - (%(jobs)s - n) * (interval '365 days' / %(jobs)s::bigint) AS at
) AS ended

-- Work that no NOTIFY has started within 10 seconds: the next sweep starts it. A few rows after a
-- restart are normal; a steady stream means that a listener receives no NOTIFY (see workers.sql).
-- psql -f sql/inspect/missed_events.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Flagged wallets without a live job'
SELECT c.name AS chain, w.wanted_job, count(*) AS wallets,
       count(*) FILTER (WHERE dead.job_id IS NOT NULL) AS waiting_after_failure,
       min(w.wanted_since) AS oldest
FROM wallets w
JOIN chains c ON c.id = w.chain_id
LEFT JOIN LATERAL (
    SELECT j.job_id FROM job_logs j
    WHERE j.wallet_id = w.id AND j.job_type = w.wanted_job AND j.failed_at > w.flagged_since
    ORDER BY j.completed_at DESC
    LIMIT 1
) dead ON true
WHERE w.wanted_job IS NOT NULL AND w.wanted_since < clock_timestamp() - interval '10 seconds'
  AND NOT EXISTS (
      SELECT FROM job_logs live
      WHERE live.wallet_id = w.id AND live.job_type = w.wanted_job AND live.completed_at IS NULL)
GROUP BY c.name, w.wanted_job
ORDER BY c.name, w.wanted_job;

\echo 'Due jobs that nobody has claimed'
SELECT job_type, status, count(*) AS jobs, min(run_at) AS oldest
FROM job_logs
WHERE completed_at IS NULL AND status IN ('pending', 'retrying') AND run_at < clock_timestamp() - interval '10 seconds'
GROUP BY job_type, status
ORDER BY job_type, status;

\echo 'Due balances that nobody has read'
SELECT c.name AS chain, a.symbol, count(*) AS balances, min(b.next_check_at) AS oldest
FROM wallet_balances b
JOIN asset_on_chain a ON a.id = b.asset_on_chain_id AND a.is_active
JOIN chains c ON c.id = a.chain_id AND c.is_active
WHERE b.next_check_at < clock_timestamp() - interval '10 seconds' AND b.processing_status = 'idle'
GROUP BY c.name, a.symbol
ORDER BY c.name, a.symbol;

\echo 'Due pages of balances that nobody has read'
SELECT c.name AS chain, a.symbol, count(*) AS pages, sum(p.balances) AS balances, min(p.next_check_at) AS oldest
FROM sync_pages p
JOIN asset_on_chain a ON a.id = p.asset_on_chain_id AND a.is_active
JOIN chains c ON c.id = a.chain_id AND c.is_active
WHERE p.next_check_at < clock_timestamp() - interval '10 seconds'
GROUP BY c.name, a.symbol
ORDER BY c.name, a.symbol;

\echo 'Jobs started by NOTIFY and jobs that only the sweep found, last 24 hours'
SELECT job_type, count(*) FILTER (WHERE triggered_by = 'event') AS by_event,
       count(*) FILTER (WHERE triggered_by = 'sweep') AS by_sweep
FROM job_logs
WHERE created_at > now() - interval '24 hours' AND triggered_by IN ('event', 'sweep')
  AND data ->> 'queue_summary' IS DISTINCT FROM 'true'
GROUP BY job_type
ORDER BY job_type;

\echo 'How full the notification queue of the server is (NOTIFY is suppressed from 0.5 on)'
SELECT pg_notification_queue_usage();

-- Jobs and balances that do not move, why, and the command that helps. Payments that wait for the chain: money_in_flight.sql.
-- psql -f sql/inspect/stuck.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Running jobs that the next cleanup takes from their worker: flagpost jobs cleanup-stuck'
SELECT j.job_id, j.job_type, j.wallet_address, w.id AS worker, w.status,
       date_trunc('second', clock_timestamp() - w.last_heartbeat) AS silent,
       date_trunc('second', clock_timestamp() - j.updated_at) AS untouched,
       j.lease_deadline < clock_timestamp() AS past_deadline
FROM job_logs j
LEFT JOIN worker_registry w ON w.incarnation = j.leased_by
WHERE j.completed_at IS NULL AND j.status = 'active' AND NOT j.awaiting_chain
  AND (j.lease_deadline < clock_timestamp()
       OR w.id IS NULL OR w.status = 'stopped' OR w.last_heartbeat < clock_timestamp() - interval '60 seconds'
       OR w.incarnation = ANY (dead_workers()))
ORDER BY j.updated_at
LIMIT 50;

\echo 'Balances whose lock has expired (due again by themselves), by holder'
SELECT locked_by, count(*) AS balances, min(locked_until) AS since
FROM wallet_balances
WHERE processing_status = 'processing' AND locked_until < clock_timestamp()
GROUP BY locked_by
ORDER BY since
LIMIT 20;

\echo 'Pages of balances whose lock has expired (due again by themselves), by holder'
SELECT locked_by, count(*) AS pages, sum(balances) AS balances, min(locked_until) AS since
FROM sync_pages
WHERE locked_until < clock_timestamp()
GROUP BY locked_by
ORDER BY since
LIMIT 20;

\echo 'Balances that cannot be read, by reason'
SELECT c.name AS chain, a.symbol, b.last_error, count(*) AS balances, max(b.error_count) AS most_errors,
       max(b.last_error_at) AS latest
FROM wallet_balances b
JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
JOIN chains c ON c.id = a.chain_id
WHERE b.last_error IS NOT NULL
GROUP BY c.name, a.symbol, b.last_error
ORDER BY balances DESC
LIMIT 20;

\echo 'Dead letters of the last day, by reason: flagpost jobs retry-failed'
SELECT job_type, error_message, count(*) AS jobs, max(completed_at) AS latest
FROM job_logs
WHERE failed_at > now() - interval '1 day'
GROUP BY job_type, error_message
ORDER BY jobs DESC
LIMIT 20;

\echo 'Transactions open for more than a minute: they slow the queue down'
SELECT pid, application_name, usename, state, date_trunc('second', clock_timestamp() - xact_start) AS open,
       pg_blocking_pids(pid) AS waits_for, left(query, 80) AS query
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < clock_timestamp() - interval '1 minute'
ORDER BY xact_start
LIMIT 20;

-- Jobs that waited or ran long in the last 24 hours, in milliseconds: wait = flag to start, duration = start to end (a
-- payment's includes the way to a final block).
-- psql -f sql/inspect/slow_jobs.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Percentiles'
SELECT job_type, count(*) AS jobs,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY (data ->> 'wait_ms')::float8))::numeric, 1) AS wait_p50,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY (data ->> 'wait_ms')::float8))::numeric, 1) AS wait_p99,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY (data ->> 'duration_ms')::float8))::numeric, 1) AS duration_p50,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY (data ->> 'duration_ms')::float8))::numeric, 1) AS duration_p99
FROM job_logs
WHERE created_at > now() - interval '24 hours' AND started_at IS NOT NULL
GROUP BY job_type
ORDER BY job_type;

\echo 'The 20 that took longest'
SELECT job_id, status, wallet_address, triggered_by, retry_count AS retries,
       (data ->> 'wait_ms')::numeric AS wait_ms, (data ->> 'duration_ms')::numeric AS duration_ms,
       data ->> 'outcome' AS outcome, left(error_message, 60) AS error
FROM job_logs
WHERE created_at > now() - interval '24 hours' AND started_at IS NOT NULL
ORDER BY coalesce((data ->> 'duration_ms')::numeric, 0) + coalesce((data ->> 'wait_ms')::numeric, 0) DESC
LIMIT 20;

\echo 'Still running, longest first'
SELECT job_id, wallet_address, awaiting_chain AS on_chain, retry_count AS retries,
       date_trunc('second', clock_timestamp() - started_at) AS running,
       date_trunc('second', lease_deadline - clock_timestamp()) AS deadline_in
FROM job_logs
WHERE completed_at IS NULL AND status = 'active'
ORDER BY started_at
LIMIT 20;

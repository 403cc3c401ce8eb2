-- The queue at a glance: what waits, what runs, what was finished lately.
-- psql -f sql/inspect/queue.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Jobs by type'
SELECT * FROM get_job_queue_stats();

\echo 'Waiting and running, by what triggered them'
SELECT job_type, status, awaiting_chain AS on_chain, triggered_by, priority, count(*) AS jobs,
       date_trunc('second', clock_timestamp() - min(created_at)) AS oldest,
       min(run_at) FILTER (WHERE run_at > clock_timestamp()) AS next_due
FROM job_logs
WHERE completed_at IS NULL
GROUP BY job_type, status, awaiting_chain, triggered_by, priority
ORDER BY job_type, status, priority DESC, triggered_by;

\echo 'The last hour'
SELECT job_type, status, triggered_by, count(*) AS jobs,
       round(avg((data ->> 'wait_ms')::numeric), 1) AS average_wait_ms,
       round(avg((data ->> 'duration_ms')::numeric), 1) AS average_duration_ms
FROM job_logs
WHERE created_at > now() - interval '1 hour' AND data ->> 'queue_summary' IS DISTINCT FROM 'true'
GROUP BY job_type, status, triggered_by
ORDER BY job_type, status, triggered_by;

\echo 'The last 5 queue summaries'
SELECT created_at, data - 'queue_summary' AS summary
FROM job_logs
WHERE job_type = 'sync' AND data ->> 'queue_summary' = 'true'
ORDER BY created_at DESC
LIMIT 5;

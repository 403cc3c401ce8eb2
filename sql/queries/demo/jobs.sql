-- How the jobs of a chain (NULL: of all) went, for the summary: failures, what only a sweep found, and the wait from flag to start (ms).
SELECT count(*) FILTER (WHERE status = 'failed') AS jobs_failed,
       count(*) FILTER (WHERE triggered_by = 'sweep') AS missed_events_swept,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_ms)::numeric, 2) AS p50,
       round(percentile_cont(0.99) WITHIN GROUP (ORDER BY wait_ms)::numeric, 2) AS p99
FROM (
    SELECT status, triggered_by, (data ->> 'wait_ms')::double precision AS wait_ms
    FROM job_logs
    WHERE job_type IN ('gas-topup', 'consolidation')
      AND (%(chain_id)s::integer IS NULL OR chain_id = %(chain_id)s::integer)
) j;

-- How the jobs of a chain (NULL: of all) went, for the summary: how many were completed and failed, what only a sweep found, the
-- wait from flag to start (ms), and the average time from a job's creation to its end on the chain (seconds).
SELECT count(*) FILTER (WHERE status = 'completed') AS jobs_completed,
       count(*) FILTER (WHERE status = 'failed') AS jobs_failed,
       count(*) FILTER (WHERE triggered_by = 'sweep') AS missed_events_swept,
       round(avg(seconds) FILTER (WHERE status = 'completed'), 2) AS average_seconds,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_ms)::numeric, 2) AS p50,
       round(percentile_cont(0.99) WITHIN GROUP (ORDER BY wait_ms)::numeric, 2) AS p99
FROM (
    SELECT status, triggered_by, (data ->> 'wait_ms')::double precision AS wait_ms,
           extract(epoch FROM completed_at - created_at) AS seconds
    FROM job_logs
    WHERE job_type IN ('gas-topup', 'consolidation')
      AND (%(chain_id)s::integer IS NULL OR chain_id = %(chain_id)s::integer)
) j;

-- Waiting jobs that are due later than any backoff makes them wait. What an operator planned (pending, not tried yet) is only
-- told. At most 10,000 are read.
SELECT j.job_type, count(*) AS jobs, max(j.run_at)::text AS latest, (array_agg(j.job_id))[:3] AS examples,
       (array_agg(j.id))[:100] AS ids,
       CASE WHEN j.planned THEN 'note' ELSE 'fail' END AS level,
       CASE WHEN j.planned THEN 'planned by hand' ELSE 'later than any backoff is long' END AS why
FROM (
    SELECT j.id, j.job_id, j.job_type, j.run_at, j.status = 'pending' AND j.error_message IS NULL AS planned
    FROM job_logs j
    WHERE j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
      AND j.run_at > now() + make_interval(secs => 2 * %(backoff_seconds)s + 600)
    LIMIT 10000
) j
GROUP BY j.job_type, j.planned
ORDER BY j.planned, j.job_type

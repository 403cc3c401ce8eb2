-- Jobs that failed within a day, by type, and their share of what ended: of the newest 10,000 jobs.
SELECT j.job_type, count(*) FILTER (WHERE j.status = 'failed') AS failed, count(*) AS ended,
       round(100.0 * count(*) FILTER (WHERE j.status = 'failed') / count(*), 1) AS percent,
       (array_agg(j.error_message ORDER BY j.completed_at DESC) FILTER (WHERE j.status = 'failed'))[1] AS newest_error,
       (array_agg(j.id ORDER BY j.completed_at DESC) FILTER (WHERE j.status = 'failed'))[:100] AS ids,
       CASE WHEN count(*) FILTER (WHERE j.status = 'failed') >= greatest(10, 0.1 * count(*)) THEN 'fail' ELSE 'warn' END AS level
FROM (SELECT * FROM job_logs ORDER BY created_at DESC LIMIT 10000) j
WHERE j.status IN ('completed', 'failed') AND j.completed_at > now() - interval '1 day' AND NOT j.data ? 'queue_summary'
GROUP BY j.job_type
HAVING count(*) FILTER (WHERE j.status = 'failed') > 0
ORDER BY j.job_type

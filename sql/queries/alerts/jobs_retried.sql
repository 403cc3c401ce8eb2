-- Types of job of a chain of which %(retry_percent)s percent or more of what began within 15 minutes had failed before, and
-- %(retry_jobs)s jobs at the least. Of the newest 10,000 jobs of the hour.
SELECT c.name AS chain, j.job_type, count(*) FILTER (WHERE j.retry_count > 0) AS retried, count(*) AS jobs,
       round(100.0 * count(*) FILTER (WHERE j.retry_count > 0) / count(*)) AS percent,
       coalesce((array_agg(j.error_message ORDER BY j.started_at DESC) FILTER (WHERE j.error_message IS NOT NULL))[1], 'nothing')
           AS newest_error
FROM (SELECT l.job_type, l.chain_id, l.retry_count, l.error_message, l.started_at FROM job_logs l
      WHERE l.created_at > now() - interval '1 hour' ORDER BY l.created_at DESC LIMIT 10000) j
JOIN chains c ON c.id = j.chain_id
WHERE j.started_at > now() - interval '15 minutes'
GROUP BY c.name, j.job_type
HAVING count(*) FILTER (WHERE j.retry_count > 0) >= greatest(%(retry_jobs)s, %(retry_percent)s * count(*) / 100.0)
ORDER BY c.name, j.job_type

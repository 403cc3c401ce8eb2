-- Jobs that failed for good within the hour, by chain and type: %(failed_jobs)s or more of them. Critical from
-- %(failed_jobs_critical)s on. At most 10,000 are counted.
SELECT coalesce(c.name, 'no chain') AS chain, f.job_type, count(*) AS jobs,
       coalesce((array_agg(f.error_message ORDER BY f.failed_at DESC))[1], 'nothing') AS newest_error,
       CASE WHEN count(*) >= %(failed_jobs_critical)s THEN 'fail' ELSE 'warn' END AS level
FROM (SELECT j.job_type, j.chain_id, j.error_message, j.failed_at FROM job_logs j
      WHERE j.failed_at > now() - interval '1 hour' ORDER BY j.failed_at DESC LIMIT 10000) f
LEFT JOIN chains c ON c.id = f.chain_id
GROUP BY c.name, f.job_type
HAVING count(*) >= %(failed_jobs)s
ORDER BY c.name, f.job_type

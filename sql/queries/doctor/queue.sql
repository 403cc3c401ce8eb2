-- Live and dead work by type: what waits, since when, and the newest reason for waiting or failing.
SELECT job_type,
       count(*) FILTER (WHERE status IN ('pending', 'retrying') AND run_at <= now()) AS due,
       count(*) FILTER (WHERE status IN ('pending', 'retrying') AND run_at > now()) AS later,
       count(*) FILTER (WHERE status = 'active') AS active,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       min(run_at) FILTER (WHERE status IN ('pending', 'retrying') AND run_at <= now()) AS oldest_due,
       (array_agg(error_message ORDER BY updated_at DESC)
           FILTER (WHERE error_message IS NOT NULL AND status <> 'completed'))[1] AS newest_error
FROM job_logs
WHERE status IN ('pending', 'retrying', 'active')
   OR (status = 'failed' AND completed_at > now() - interval '1 day')
GROUP BY job_type
ORDER BY job_type;

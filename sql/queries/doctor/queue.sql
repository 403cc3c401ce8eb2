-- Live work by type: what waits, since when, and the reason that one of the longest waiting gives. At most 100,000 are counted.
SELECT job_type,
       count(*) FILTER (WHERE status IN ('pending', 'retrying') AND run_at <= now()) AS due,
       count(*) FILTER (WHERE status IN ('pending', 'retrying') AND run_at > now()) AS later,
       count(*) FILTER (WHERE status = 'active') AS active,
       min(run_at) FILTER (WHERE status IN ('pending', 'retrying') AND run_at <= now()) AS oldest_due,
       (array_agg(error_message ORDER BY updated_at DESC) FILTER (WHERE error_message IS NOT NULL))[1] AS newest_error
FROM (SELECT * FROM job_logs WHERE completed_at IS NULL LIMIT 100000) live
GROUP BY job_type
ORDER BY job_type;

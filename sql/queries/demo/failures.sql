-- Why jobs failed or still wait, most frequent first, for the person who reads the summary.
SELECT job_type, status, coalesce(error_message, 'no reason given') AS reason, count(*) AS jobs
FROM job_logs
WHERE status IN ('failed', 'pending', 'active', 'retrying')
GROUP BY job_type, status, reason
ORDER BY jobs DESC, job_type
LIMIT 5;

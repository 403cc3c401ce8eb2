-- Why jobs failed or still wait, most frequent first, for the person who reads the summary.
SELECT job_type, status, count(*) AS jobs,
       coalesce(error_message, CASE WHEN awaiting_chain THEN 'its transaction is not final yet'
                                    WHEN status = 'failed' THEN 'no reason given'
                                    ELSE 'not done yet' END) AS reason
FROM job_logs
WHERE status IN ('failed', 'pending', 'active', 'retrying')
GROUP BY job_type, status, reason
ORDER BY jobs DESC, job_type
LIMIT 5;

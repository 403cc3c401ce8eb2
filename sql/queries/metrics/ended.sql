-- Jobs that have ended, by type, status and chain, in job_logs and job_history: counted as they ended (job_totals).
SELECT t.job_type AS type, t.status, coalesce(c.name, 'none') AS chain, sum(t.jobs) AS value_jobs
FROM job_totals t LEFT JOIN chains c ON c.id = t.chain_id
GROUP BY t.job_type, t.status, coalesce(c.name, 'none')

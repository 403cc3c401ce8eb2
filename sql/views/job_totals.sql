-- How many jobs have ended, by where they are (month of job_history; NULL: job_logs), type, status and chain (0: none), and how
-- long those took that were completed: `timed` jobs, `duration_ms` together. What was folded and what came since.
CREATE OR REPLACE VIEW job_totals WITH (security_invoker = true) AS
SELECT nullif(c.month, '-infinity') AS month, c.job_type, c.status, c.chain_id, sum(c.jobs)::bigint AS jobs,
       sum(c.timed)::bigint AS timed, sum(c.duration_ms) AS duration_ms
FROM (
    SELECT f.month, f.job_type, f.status, f.chain_id, f.jobs, f.timed, f.duration_ms FROM job_counts f
    UNION ALL
    SELECT d.month, d.job_type, d.status, d.chain_id, d.jobs, d.timed, d.duration_ms FROM job_count_deltas d
) c
GROUP BY c.month, c.job_type, c.status, c.chain_id
HAVING sum(c.jobs) <> 0;

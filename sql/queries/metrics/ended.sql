-- Jobs that have ended, by type, status and chain, in job_logs and job_history (job_totals). One that is retried, or whose month is
-- dropped, is taken out: no counter. 0 for each type of an active chain and each status, which is so there before the first one ends.
SELECT k.type, k.status, k.chain, sum(k.jobs) AS value_jobs
FROM (
    SELECT t.job_type AS type, t.status, coalesce(c.name, 'none') AS chain, t.jobs
    FROM job_totals t LEFT JOIN chains c ON c.id = t.chain_id
    UNION ALL
    SELECT t.type, s.status, c.name, 0
    FROM chains c
    CROSS JOIN (VALUES ('gas-topup'), ('consolidation')) AS t (type)
    CROSS JOIN (VALUES ('completed'), ('failed'), ('cancelled')) AS s (status)
    WHERE c.is_active
) k
GROUP BY k.type, k.status, k.chain

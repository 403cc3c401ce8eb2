-- Jobs that failed for good within the hour and were not retried, by type and chain, at most 10,000 of them: 0 for each type of an active
-- chain, so that what is compared is there before the first one fails.
SELECT k.type, k.chain, sum(k.jobs) AS value_jobs
FROM (
    SELECT j.job_type AS type, coalesce(c.name, 'none') AS chain, 1 AS jobs
    FROM (SELECT l.job_type, l.chain_id FROM job_logs l
          WHERE l.failed_at > now() - interval '1 hour' ORDER BY l.failed_at DESC LIMIT 10000) j
    LEFT JOIN chains c ON c.id = j.chain_id
    UNION ALL
    SELECT t.type, c.name, 0
    FROM chains c CROSS JOIN (VALUES ('gas-topup'), ('consolidation')) AS t (type)
    WHERE c.is_active
) k
GROUP BY k.type, k.chain

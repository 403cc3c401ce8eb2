-- Waiting jobs of types that no process of this version runs. At most 1,000 of a type are counted.
SELECT kind.job_type, waiting.jobs, waiting.ids
FROM unnest(ARRAY['withdrawal', 'deposit-detection']) AS kind (job_type)
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, (array_agg(j.id))[:100] AS ids
    FROM (SELECT j.id FROM job_logs j
          WHERE j.job_type = kind.job_type AND j.queued AND NOT j.awaiting_chain
            AND j.status IN ('pending', 'retrying')
          LIMIT 1000) j
) waiting
WHERE waiting.jobs > 0

-- Jobs that wait and that wait for the chain, by type, at most 10,000 of each; those that run are what workers said last.
SELECT k.type, s.state, s.jobs AS value_jobs
FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
CROSS JOIN LATERAL (
    SELECT 'waiting' AS state, count(*) AS jobs
    FROM (SELECT FROM job_logs j WHERE j.job_type = k.type AND j.queued AND NOT j.awaiting_chain
          AND j.status IN ('pending', 'retrying') LIMIT 10000) w
    UNION ALL
    SELECT 'running', coalesce(sum(stat_number(w.stats, 'held')), 0)
    FROM worker_registry w WHERE w.type = k.type AND has_process(w)
) s

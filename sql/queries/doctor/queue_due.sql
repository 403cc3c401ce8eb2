-- Jobs that have been due for 5 minutes and that nobody has taken, by type and chain. Where a process of that type took jobs of
-- that chain within these minutes it is only behind. Jobs of chains that are switched off wait for them. Of sync jobs the
-- triggers know the end: the balances of their wallets were not read. At most 10,000 are counted.
WITH overdue AS (
    SELECT j.id, j.job_id, j.job_type, j.chain_id, j.run_at
    FROM job_logs j
    WHERE j.job_type IN ('gas-topup', 'consolidation', 'sync') AND j.queued AND NOT j.awaiting_chain
      AND j.status IN ('pending', 'retrying') AND j.run_at < now() - interval '5 minutes' AND j.chain_id IS NOT NULL
    LIMIT 10000
), counted AS (
    SELECT o.job_type, o.chain_id, count(*) AS jobs, min(o.run_at) AS oldest,
           (array_agg(o.job_id ORDER BY o.run_at))[:3] AS examples, (array_agg(o.id ORDER BY o.run_at))[:100] AS ids
    FROM overdue o
    GROUP BY o.job_type, o.chain_id
), explained AS (
    SELECT d.*, c.name AS chain, c.is_active,
           EXISTS (SELECT FROM worker_registry w
                   WHERE w.type = d.job_type AND w.status = 'running'
                     AND w.last_heartbeat > now() - interval '60 seconds') AS alive,
           EXISTS (SELECT FROM job_logs a
                   WHERE a.completed_at IS NULL AND a.status = 'active' AND NOT a.awaiting_chain
                     AND a.job_type = d.job_type AND a.chain_id = d.chain_id
                     AND a.started_at > now() - interval '5 minutes') AS taken_lately
    FROM counted d
    JOIN chains c ON c.id = d.chain_id
)
SELECT j.job_type, j.chain, j.jobs, now() - j.oldest AS since, j.examples, j.ids,
       CASE WHEN %(paused)s THEN 'note'
            WHEN NOT j.is_active OR (j.alive AND (j.taken_lately OR j.job_type = 'sync')) THEN 'warn'
            ELSE 'fail' END AS level,
       CASE WHEN %(paused)s THEN 'the system is paused'
            WHEN NOT j.is_active THEN 'the chain is switched off'
            WHEN NOT j.alive THEN format('no %%s runs', j.job_type)
            WHEN j.taken_lately OR j.job_type = 'sync' THEN format('%%s is behind', j.job_type)
            ELSE format('%%s runs and takes none of them', j.job_type) END AS why,
       CASE WHEN j.alive THEN 'start another one beside it: flagpost ' || j.job_type ELSE how_to_start(j.job_type) END AS start
FROM explained j
ORDER BY j.job_type, j.chain

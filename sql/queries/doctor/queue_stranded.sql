-- Jobs that have been waiting for the chain for 5 minutes though no payment of theirs is out: nobody ends them.
SELECT count(*) AS jobs, (array_agg(j.job_id))[:3] AS examples, (array_agg(j.id))[:100] AS ids
FROM job_logs j
WHERE j.completed_at IS NULL AND j.status = 'active' AND j.awaiting_chain
  AND j.updated_at < now() - interval '5 minutes'
  AND NOT EXISTS (SELECT FROM transfers t WHERE t.job_id = j.id AND t.state IN ('broadcasting', 'included'))
HAVING count(*) > 0

-- Waiting jobs without wallet or chain, which nobody can claim: triggers/job_wallets.sql did not fire. Read by the index of live
-- jobs, where those without a wallet stand together; of the others at most 10,000 are read.
SELECT count(*) AS jobs, (array_agg(j.job_id))[:3] AS examples, (array_agg(j.id))[:100] AS ids
FROM (
    (SELECT j.id, j.job_id FROM job_logs j
     WHERE j.wallet_id IS NULL AND j.completed_at IS NULL AND j.status <> 'active'
       AND j.job_type IN ('sync', 'gas-topup', 'consolidation', 'withdrawal')
     LIMIT 1000)
    UNION ALL
    (SELECT waiting.id, waiting.job_id
     FROM (SELECT j.id, j.job_id, j.wallet_id, j.chain_id FROM job_logs j
           WHERE j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying') LIMIT 10000) waiting
     WHERE waiting.wallet_id IS NOT NULL AND waiting.chain_id IS NULL)
) j
HAVING count(*) > 0

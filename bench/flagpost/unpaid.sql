-- How many of these wallets have a flag or a job that is not done.
SELECT count(*)
FROM wallets w
WHERE w.id = ANY (%(wallets)s::uuid[])
  AND (w.needs_gas OR w.needs_consolidation
       OR EXISTS (SELECT FROM job_logs j WHERE j.wallet_id = w.id AND j.status IN ('pending', 'active', 'retrying')))

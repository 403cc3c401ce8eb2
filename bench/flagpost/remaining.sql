-- Whether anything is left to do: a live job, or a flag that no job has answered.
SELECT EXISTS (SELECT FROM job_logs WHERE completed_at IS NULL)
    OR EXISTS (SELECT FROM wallets WHERE wanted_job IS NOT NULL)

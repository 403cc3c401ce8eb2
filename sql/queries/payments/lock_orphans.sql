-- Payments that can never go on: nothing of them is out, no signature is asked for them, and their job has finished (failed after
-- its last retry, cancelled by an operator). Locks the jobs, so that none of them comes back to life meanwhile.
SELECT t.id
  FROM transfers t
  JOIN job_logs j ON j.id = t.job_id
 WHERE t.chain_id = %(chain_id)s
   AND t.state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
   AND (%(wallet_id)s::uuid IS NULL OR t.wallet_id = %(wallet_id)s)
   AND j.status IN ('completed', 'failed', 'cancelled')
 ORDER BY j.id
   FOR UPDATE OF j SKIP LOCKED;

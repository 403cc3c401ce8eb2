-- Hands a claimed job back to the confirmation worker because its payment is already out (an operator
-- retried the job, or a worker was rescued after all). Run under the lock of the job's row, without which no payment of it
-- settles: one that has in the meantime gives no row, and the caller reads again.
UPDATE job_logs j
   SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL
  FROM transfers t
 WHERE t.id = %(transfer_id)s AND t.job_id = %(job_uuid)s AND t.state IN ('broadcasting', 'included') AND j.id = t.job_id
RETURNING t.id;

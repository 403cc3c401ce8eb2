-- Hands a claimed job back to the confirmation worker because its payment is already out (an operator
-- retried the job, or a worker was rescued after all). Run under the lock of the job's row; locks the payment's too:
-- a payment that has settled in the meantime gives no row, and the caller looks again.
WITH transfer AS (
    SELECT id, job_id FROM transfers
     WHERE id = %(transfer_id)s AND job_id = %(job_uuid)s AND state IN ('broadcasting', 'included')
       FOR UPDATE
)
UPDATE job_logs j
   SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL
  FROM transfer
 WHERE j.id = transfer.job_id
RETURNING transfer.id;

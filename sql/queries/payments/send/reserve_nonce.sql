-- Opens the handing over of a payment: the job's row, locked if the attempt still holds it (as lock_job.sql), and the nonce of
-- the payment (sql/functions/nonces.sql), in the commit that keeps the bytes. No row: the lease was lost, and the step must not
-- happen. No nonce: the payment is not to be signed any more.
WITH held AS MATERIALIZED (
    SELECT id
      FROM job_logs
     WHERE id = %(job_uuid)s AND lease = %(lease)s AND status = 'active' AND NOT awaiting_chain
       FOR UPDATE
)
SELECT reserve_nonce(%(transfer_id)s, %(counted)s) AS nonce FROM held;

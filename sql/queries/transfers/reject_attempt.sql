-- Gives up signed bytes that were never sent, so that the payment may be signed anew.
-- Run under the lock of the job's row. No row: they may have been sent.
WITH attempt AS (
    UPDATE chain_transactions
       SET state = 'rejected', last_result = %(reason)s
     WHERE id = %(attempt_id)s AND state = 'signed'
    RETURNING transfer_id
)
UPDATE transfers t
   SET state = 'expired', error_message = %(reason)s
  FROM attempt
 WHERE t.id = attempt.transfer_id AND t.job_id = %(job_uuid)s AND t.state = 'signed'
RETURNING t.id;

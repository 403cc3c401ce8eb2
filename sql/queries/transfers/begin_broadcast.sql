-- The step after which only the chain knows: the attempt and its payment become 'broadcasting' and the job
-- passes from its worker to the confirmation worker, all or nothing. Run under the lock of the job's row.
-- No row: the attempt is not 'signed' any more, and must not be sent by this caller.
--
-- This commit must survive a crash of the server before a byte leaves: on a server with synchronous_commit = off it
-- could be lost after it was acknowledged, and the payment would be made again. Stricter settings are left as they are.
WITH attempt AS (
    UPDATE chain_transactions
       SET state = 'broadcasting',
           first_broadcast_at = clock_timestamp(),
           last_broadcast_at = clock_timestamp(),
           broadcast_count = 1
     WHERE id = %(attempt_id)s AND state = 'signed'
    RETURNING id, transfer_id
), transfer AS (
    UPDATE transfers t
       SET state = 'broadcasting'
      FROM attempt
     WHERE t.id = attempt.transfer_id AND t.job_id = %(job_uuid)s AND t.state = 'signed'
    RETURNING t.id, t.job_id
)
UPDATE job_logs j
   SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL
  FROM transfer
 WHERE j.id = transfer.job_id
RETURNING transfer.id,
          CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END;

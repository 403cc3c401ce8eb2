-- The step after which only the chain knows: the attempts of a job and their payments become 'broadcasting' and the job
-- passes from its worker to the confirmation worker. Run under the lock of the job's row; the caller takes it back
-- unless there is a row for every attempt: one that is missing is not 'signed' any more, or another job's, and none must
-- be sent.
--
-- This commit must survive a crash of the server before a byte leaves: on a server with synchronous_commit = off it
-- could be lost after it was acknowledged, and the payment would be made again. Stricter settings are left as they are.
WITH attempts AS (
    UPDATE chain_transactions a
       SET state = 'broadcasting',
           first_broadcast_at = clock_timestamp(),
           last_broadcast_at = clock_timestamp(),
           broadcast_count = 1
      FROM transfers t
     WHERE a.id = ANY (%(attempt_ids)s::bigint[]) AND a.state = 'signed'
       AND t.id = a.transfer_id AND t.job_id = %(job_uuid)s AND t.state = 'signed'
    RETURNING a.id, a.transfer_id
), payments AS (
    UPDATE transfers t
       SET state = 'broadcasting'
      FROM attempts
     WHERE t.id = attempts.transfer_id AND t.job_id = %(job_uuid)s AND t.state = 'signed'
    RETURNING t.id, t.job_id
), job AS (
    UPDATE job_logs j
       SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL, data = (j.data - 'not_sent') || %(data)s::jsonb
     WHERE j.id = %(job_uuid)s AND EXISTS (SELECT FROM payments)
    RETURNING j.id
)
SELECT payments.id,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
  FROM payments
  JOIN job ON job.id = payments.job_id;

-- Gives up a payment of this job that never left, or whose last attempt was proved dead.
-- Run under the lock of the job's row. No row: it may be out, or was settled.
WITH attempt AS (
    UPDATE chain_transactions a
       SET state = 'rejected', last_result = %(reason)s
      FROM transfers t
     WHERE t.id = %(transfer_id)s AND t.job_id = %(job_uuid)s
       AND a.transfer_id = t.id AND a.state = 'signed'
    RETURNING a.id
)
UPDATE transfers
   SET state = 'rejected', error_message = %(reason)s, settled_at = clock_timestamp()
 WHERE id = %(transfer_id)s AND job_id = %(job_uuid)s AND state IN ('requested', 'signed', 'expired')
RETURNING id, (SELECT count(*) FROM attempt) AS attempts;

-- Gives up the payments found by lock_orphans, whose jobs are locked. Returns those that really had not left.
WITH attempts AS (
    UPDATE chain_transactions
       SET state = 'rejected', last_result = 'its job finished before it was sent'
     WHERE transfer_id = ANY (%(transfer_ids)s::bigint[]) AND state = 'signed'
    RETURNING id
)
UPDATE transfers
   SET state = 'rejected', settled_at = clock_timestamp(),
       error_message = coalesce(error_message, 'its job finished before it was sent')
 WHERE id = ANY (%(transfer_ids)s::bigint[]) AND state IN ('requested', 'signed', 'expired')
RETURNING id, (SELECT count(*) FROM attempts) AS attempts;

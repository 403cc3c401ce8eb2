-- A payment whose attempts the chain proved dead, all of them. It may be signed anew; its job is released by
-- release_jobs.sql. Run under the locks of job and payment.
-- No row: an attempt is not 'broadcasting' any more, or there is one that the proof does not speak of: the proof is void.
WITH attempts AS (
    UPDATE chain_transactions a
       SET state = 'expired'
     WHERE a.id = ANY (%(attempt_ids)s::bigint[]) AND a.state = 'broadcasting'
       AND NOT EXISTS (
           SELECT FROM chain_transactions other
            WHERE other.transfer_id = a.transfer_id AND other.state IN ('signed', 'broadcasting', 'included', 'final')
              AND NOT (other.id = ANY (%(attempt_ids)s::bigint[]) AND other.state = 'broadcasting'))
    RETURNING a.transfer_id
)
UPDATE transfers t
   SET state = 'expired', error_message = %(reason)s, replace_wanted_at = NULL
 WHERE t.id IN (SELECT transfer_id FROM attempts) AND t.state = 'broadcasting'
RETURNING t.id;

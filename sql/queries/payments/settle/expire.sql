-- A payment whose attempts the chain proved dead, all of them. It may be signed anew; its job is released by
-- release_jobs.sql. Run under the locks of job and payment.
-- No row: an attempt is not 'broadcasting' any more, or there is one that the proof does not speak of: the proof is void. Or
-- the final blocks that were read are older than an attempt with a nonce: it is too early (triggers/expiry_proof.sql).
-- How far was read, and what used the nonce, is kept with the nonce, which the trigger asks for.
WITH attempts AS (
    UPDATE chain_transactions a
       SET state = 'expired'
     WHERE a.id = ANY (%(attempt_ids)s::bigint[]) AND a.state = 'broadcasting'
       AND NOT EXISTS (
           SELECT FROM chain_transactions other
            WHERE other.bundle_id = a.bundle_id AND other.state IN ('broadcasting', 'included', 'final')
              AND NOT (other.id = ANY (%(attempt_ids)s::bigint[]) AND other.state = 'broadcasting'))
       AND NOT EXISTS (
           SELECT FROM chain_transactions young
             LEFT JOIN chain_cursors c ON c.chain_id = young.chain_id AND c.purpose = 'confirmations'
            WHERE young.id = ANY (%(attempt_ids)s::bigint[]) AND young.nonce IS NOT NULL
              AND (c.block_number > young.ref_block AND c.block_time > young.first_broadcast_at) IS NOT TRUE)
    RETURNING a.bundle_id, a.chain_id, a.sender, a.nonce
), proofs AS (
    UPDATE nonces x
       SET lost_at_block = c.block_number, used_by = %(used_by)s
      FROM attempts a
      JOIN chain_cursors c ON c.chain_id = a.chain_id AND c.purpose = 'confirmations'
     WHERE x.chain_id = a.chain_id AND x.sender = a.sender AND x.nonce = a.nonce AND x.bundle_id = a.bundle_id
)
UPDATE transfers t
   SET state = 'expired', error_message = %(reason)s, replace_wanted_at = NULL
 WHERE t.bundle_id IN (SELECT bundle_id FROM attempts) AND t.state = 'broadcasting'
RETURNING t.id;

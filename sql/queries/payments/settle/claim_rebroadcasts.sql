-- The attempts whose bytes are to be sent again: in no block (nor another of the same payment), not past their expiration on the
-- chain's own clock, and not sent for block_seconds × 2^n since the n-th send (capped). Counted before they are sent.
UPDATE chain_transactions
   SET last_broadcast_at = clock_timestamp(), broadcast_count = broadcast_count + 1
 WHERE id = ANY (ARRAY(
        SELECT id FROM chain_transactions
         WHERE chain_id = %(chain_id)s AND state = 'broadcasting'
           AND (expiration IS NULL OR expiration > %(chain_time)s)
           AND (nonce IS NULL OR NOT EXISTS (
                    SELECT FROM chain_transactions other
                     WHERE other.bundle_id = chain_transactions.bundle_id AND other.state = 'included'))
           AND (last_broadcast_at IS NULL OR last_broadcast_at + make_interval(secs => least(
                    %(base_seconds)s::float8 * power(2, least(broadcast_count, 16)), %(cap_seconds)s::float8)) <= clock_timestamp())
         ORDER BY last_broadcast_at NULLS FIRST
         LIMIT %(limit)s
           FOR UPDATE SKIP LOCKED))
   AND state = 'broadcasting'
RETURNING id AS attempt_id, txid, signed_bytes, sender, fee_cap, nonce, ref_block, expiration, broadcast_count;

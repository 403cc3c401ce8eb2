-- Keeps signed bytes as one more attempt of a payment that is out, with the nonce of the others. Run under the locks
-- of job and payment, and in one commit with begin_replacement.sql. No row: the payment is not 'broadcasting' any more, or
-- somebody else has replaced the attempt that these bytes replace.
WITH payment AS (
    UPDATE transfers t
       SET replace_wanted_at = NULL, error_message = NULL
     WHERE t.id = %(transfer_id)s AND t.state = 'broadcasting'
       AND (SELECT max(a.id) FROM chain_transactions a WHERE a.transfer_id = t.id) = %(replaces)s
    RETURNING t.id, t.chain_id
)
INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block, fee_cap)
SELECT id, chain_id,
       (SELECT coalesce(max(attempt), 0) + 1 FROM chain_transactions WHERE transfer_id = payment.id),
       %(txid)s, %(signed_bytes)s, %(sender)s, %(nonce)s, %(ref_block)s, %(fee_cap)s
  FROM payment
RETURNING id;

-- Keeps the signed bytes of a gap. In one commit with begin_gap.sql and begin_replacement.sql.
WITH payment AS (
    UPDATE transfers SET state = 'signed' WHERE id = %(transfer_id)s AND state = 'requested' RETURNING id, chain_id
)
INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block, fee_cap)
SELECT id, chain_id, 1, %(txid)s, %(signed_bytes)s, %(sender)s, %(nonce)s, %(ref_block)s, %(fee_cap)s
  FROM payment
RETURNING id;

-- Keeps the signed bytes as the next attempt of a payment, before the first byte goes to a node.
-- Run under the lock of the job's row. No row: the payment is in no state to be signed.
WITH transfer AS (
    UPDATE transfers
       SET state = 'signed'
     WHERE id = %(transfer_id)s AND job_id = %(job_uuid)s AND state IN ('requested', 'expired')
    RETURNING id, chain_id
)
INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block, expiration, fee_cap)
SELECT id, chain_id,
       (SELECT coalesce(max(attempt), 0) + 1 FROM chain_transactions WHERE transfer_id = transfer.id),
       %(txid)s, %(signed_bytes)s, %(sender)s, %(nonce)s, %(ref_block)s, %(expiration)s, %(fee_cap)s
  FROM transfer
RETURNING id;

-- Keeps the signed bytes as the next attempt of a payment, before the first byte goes to a node.
-- Run under the lock of the job's row. No row: the payment is in no state to be signed, or its wallet's address was
-- edited since it was decided.
WITH transfer AS (
    UPDATE transfers t
       SET state = 'signed'
      FROM wallets w
     WHERE t.id = %(transfer_id)s AND t.job_id = %(job_uuid)s AND t.state IN ('requested', 'expired')
       AND w.id = t.wallet_id AND w.address IN (t.from_address, t.to_address)
    RETURNING t.id, t.chain_id
)
INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block, expiration, fee_cap)
SELECT id, chain_id,
       (SELECT coalesce(max(attempt), 0) + 1 FROM chain_transactions WHERE transfer_id = transfer.id),
       %(txid)s, %(signed_bytes)s, %(sender)s, %(nonce)s, %(ref_block)s, %(expiration)s, %(fee_cap)s
  FROM transfer
RETURNING id;

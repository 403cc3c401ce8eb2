-- The transaction that made a payment, found in a final block and not recorded: an attempt without bytes. Run under the locks of
-- job and payment, in one commit with settle.sql. No row: the payment is in no state for it.
WITH payment AS (
    UPDATE transfers t SET state = 'included', replace_wanted_at = NULL
     WHERE t.id = %(transfer_id)s AND t.state IN ('requested', 'broadcasting')
    RETURNING t.bundle_id, t.chain_id
)
INSERT INTO chain_transactions (bundle_id, chain_id, attempt, txid, signed_bytes, sender, nonce, fee_cap, state, found_on_chain,
                                block_number, block_id, block_time)
SELECT bundle_id, chain_id,
       (SELECT coalesce(max(attempt), 0) + 1 FROM chain_transactions WHERE bundle_id = payment.bundle_id),
       %(txid)s, '', %(sender)s, %(nonce)s, %(fee)s, 'included', true, %(block_number)s, %(block_id)s, %(block_time)s
  FROM payment
RETURNING id;

-- The transaction that made the payments of a bundle, found in a final block and not recorded: an attempt without bytes. Run under the locks of
-- jobs and payments, in one commit with settle.sql. No row: a payment of it is in no state for it.
WITH bundle AS (
    SELECT b.id FROM bundles b
     WHERE b.id = (SELECT bundle_id FROM transfers WHERE id = %(transfer_id)s)
       AND NOT EXISTS (SELECT FROM transfers t WHERE t.bundle_id = b.id AND t.state NOT IN ('requested', 'broadcasting'))
), payments AS (
    UPDATE transfers t SET state = 'included', replace_wanted_at = NULL
      FROM bundle
     WHERE t.bundle_id = bundle.id
    RETURNING t.bundle_id, t.chain_id
), payment AS (
    SELECT DISTINCT bundle_id, chain_id FROM payments
)
INSERT INTO chain_transactions (bundle_id, chain_id, attempt, txid, signed_bytes, sender, nonce, fee_cap, state, found_on_chain,
                                block_number, block_id, block_time)
SELECT bundle_id, chain_id,
       (SELECT coalesce(max(attempt), 0) + 1 FROM chain_transactions WHERE bundle_id = payment.bundle_id),
       %(txid)s, '', %(sender)s, %(nonce)s, %(fee)s, 'included', true, %(block_number)s, %(block_id)s, %(block_time)s
  FROM payment
RETURNING id;

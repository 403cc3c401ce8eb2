-- The nonce after all that are known of a payment's sender. None: nothing is known of it.
SELECT (SELECT max(known.nonce) + 1 FROM nonces known WHERE known.chain_id = t.chain_id AND known.sender = t.from_address)
  FROM transfers t
 WHERE t.id = %(transfer_id)s;

-- A payment of a sender to itself, to fill a void nonce. Run under the sender's lock. No row: the nonce is not void any more.
INSERT INTO transfers (kind, chain_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved, idempotency_key)
SELECT 'gap', x.chain_id, %(asset_id)s, x.sender, x.sender, %(amount)s, %(fee_reserved)s,
       format('gap:%%s:%%s:%%s', x.chain_id, x.sender, x.nonce)
  FROM nonces x
 WHERE x.id = %(nonce_id)s AND x.state = 'void'
RETURNING id;

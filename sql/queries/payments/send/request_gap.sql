-- A payment of a sender to itself, to fill a void nonce; one whose signature was refused before gets a new key. Run under the sender's
-- lock. No row: the nonce is not void any more.
INSERT INTO transfers (kind, chain_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved, idempotency_key)
SELECT 'gap', x.chain_id, %(asset_id)s, x.sender, x.sender, %(amount)s, %(fee_reserved)s,
       format('gap:%%s:%%s:%%s:%%s', x.chain_id, x.sender, x.nonce,
              (SELECT count(*) FROM signing_requests r
                WHERE r.chain_id = x.chain_id AND r.sender = x.sender AND r.nonce = x.nonce AND r.state = 'refused'))
  FROM nonces x
 WHERE x.id = %(nonce_id)s AND x.state = 'void'
RETURNING id, bundle_id;

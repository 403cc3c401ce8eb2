-- Asks for signatures: what is to be signed, exactly as it is, so that a restart asks for the same. Run in the commit that writes the
-- intents and reserves the nonces. The arrays run in parallel, one element a bundle. A bundle without a row: a wallet's address was
-- edited since its payment was decided.
INSERT INTO signing_requests (bundle_id, chain_id, sender, replaces, nonce, ref_block, expiration, parameters, unsigned_bytes, fee_cap)
SELECT b.id, b.chain_id, b.sender, a.replaces, a.nonce, a.ref_block, a.expiration, a.parameters, a.unsigned_bytes, a.fee_cap
  FROM unnest(%(bundle_ids)s::bigint[], %(replaces)s::bigint[], %(nonces)s::bigint[], %(ref_blocks)s::bigint[],
              %(expirations)s::timestamptz[], %(parameters)s::jsonb[], %(unsigned_bytes)s::bytea[], %(fee_caps)s::numeric[])
       WITH ORDINALITY AS a (bundle_id, replaces, nonce, ref_block, expiration, parameters, unsigned_bytes, fee_cap, place)
  JOIN bundles b ON b.id = a.bundle_id
 WHERE NOT EXISTS (SELECT FROM transfers t JOIN wallets w ON w.id = t.wallet_id
                    WHERE t.bundle_id = b.id AND w.address NOT IN (t.from_address, t.to_address))
 ORDER BY a.place
RETURNING bundle_id, request_id;

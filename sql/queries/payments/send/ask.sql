-- Asks for a signature: what is to be signed, exactly as it is, so that a restart asks for the same. Run in the commit that writes the
-- intents and reserves the nonce. No row: a wallet's address was edited since its payment was decided.
INSERT INTO signing_requests (bundle_id, chain_id, sender, replaces, nonce, ref_block, expiration, parameters, unsigned_bytes, fee_cap)
SELECT b.id, b.chain_id, b.sender, %(replaces)s, %(nonce)s, %(ref_block)s, %(expiration)s, %(parameters)s, %(unsigned_bytes)s, %(fee_cap)s
  FROM bundles b
 WHERE b.id = %(bundle_id)s
   AND NOT EXISTS (SELECT FROM transfers t JOIN wallets w ON w.id = t.wallet_id
                    WHERE t.bundle_id = b.id AND w.address NOT IN (t.from_address, t.to_address))
RETURNING request_id;

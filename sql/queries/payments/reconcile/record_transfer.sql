-- A payment that was found on the chain and was not recorded. In one commit with its nonce, its transaction and its end.
INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount, idempotency_key,
                       found_on_chain)
VALUES (%(kind)s, %(job_id)s, %(chain_id)s, %(wallet_id)s, %(asset_id)s, %(sender)s, %(receiver)s, %(amount)s,
        format('found:%%s:%%s', %(chain_id)s::int, %(txid)s::text), true)
RETURNING id;

-- What the books say of a nonce; run under the sender's lock. No row: they do not know it.
SELECT state FROM nonces WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s;

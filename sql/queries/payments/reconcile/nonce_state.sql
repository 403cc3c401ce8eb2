-- What is recorded of a nonce; run under the sender's lock. No row: nothing.
SELECT state FROM nonces WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s;

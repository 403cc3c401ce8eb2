-- Where the books of a sender begin. No row: somebody else was faster.
UPDATE senders SET first_nonce = %(first_nonce)s
 WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND first_nonce IS NULL
RETURNING first_nonce;

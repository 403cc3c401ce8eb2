-- From which nonce on all transactions of a sender have to be recorded. No row: another process was faster.
UPDATE senders SET first_nonce = %(first_nonce)s
 WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND first_nonce IS NULL
RETURNING first_nonce;

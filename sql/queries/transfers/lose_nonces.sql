-- Free nonces below the finalized one: somebody else has used them, or filled them.
UPDATE nonces SET state = 'lost'
 WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND state IN ('void', 'released') AND nonce < %(finalized)s
RETURNING nonce;

-- A nonce that no payment has was used by a transaction that is none of ours.
WITH known AS (
    UPDATE nonces SET state = 'lost', used_by = %(txid)s
     WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s AND state = 'void'
    RETURNING nonce
), new AS (
    INSERT INTO nonces (chain_id, sender, nonce, state, used_by)
    SELECT %(chain_id)s, %(sender)s, %(nonce)s, 'lost', %(txid)s
     WHERE NOT EXISTS (SELECT FROM nonces WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s)
    RETURNING nonce
)
SELECT nonce FROM known UNION ALL SELECT nonce FROM new;

-- What was found on the chain takes the nonce that it used.
WITH known AS (
    UPDATE nonces SET state = 'reserved', bundle_id = (SELECT bundle_id FROM transfers WHERE id = %(transfer_id)s)
     WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s AND state IN ('void', 'lost')
    RETURNING nonce
), new AS (
    INSERT INTO nonces (chain_id, sender, nonce, bundle_id)
    SELECT %(chain_id)s, %(sender)s, %(nonce)s, (SELECT bundle_id FROM transfers WHERE id = %(transfer_id)s)
     WHERE NOT EXISTS (SELECT FROM nonces WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce = %(nonce)s)
    RETURNING nonce
)
SELECT nonce FROM known UNION ALL SELECT nonce FROM new;

-- Nonces from `first` to `last`, that no payment has, were used by what no block shows, and an operator has released it.
WITH known AS (
    UPDATE nonces SET state = 'lost', used_by = %(used_by)s
     WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND nonce BETWEEN %(first)s AND %(last)s AND state = 'void'
    RETURNING nonce
), new AS (
    INSERT INTO nonces (chain_id, sender, nonce, state, used_by)
    SELECT %(chain_id)s, %(sender)s, n, 'lost', %(used_by)s FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
     WHERE NOT EXISTS (SELECT FROM nonces x WHERE x.chain_id = %(chain_id)s AND x.sender = %(sender)s AND x.nonce = n)
     ORDER BY n
    RETURNING nonce
)
SELECT (SELECT count(*) FROM known) + (SELECT count(*) FROM new) AS lost;

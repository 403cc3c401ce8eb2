-- The first derivation index after the highest one in use on a chain, at least `first` (2 to 9 are reserved).
SELECT greatest(coalesce(max(derivation_index) + 1, 0), %(first)s::bigint) AS next_index
FROM wallets
WHERE chain_id = %(chain_id)s;

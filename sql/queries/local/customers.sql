-- The customers' deposit wallets of a chain, in order of derivation.
SELECT id, address, derivation_index
FROM wallets
WHERE chain_id = %(chain_id)s AND derivation_index >= %(first)s
ORDER BY derivation_index;

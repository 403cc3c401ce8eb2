-- Wallets of a chain that already have one of these addresses or derivation indices, so that a command can say which.
SELECT id, address, derivation_index
FROM wallets
WHERE chain_id = %(chain_id)s
  AND (address = ANY (%(addresses)s::text[]) OR derivation_index = ANY (%(indices)s::bigint[]))
ORDER BY id;

-- Watches more addresses of a chain; those that are new are returned. The arrays are of one length (indices NULL: foreign).
SELECT address, derivation_index FROM add_wallets(%(chain)s, %(addresses)s::text[], %(indices)s::bigint[], %(user_ids)s::uuid[], %(admin)s);

-- Adds many wallets at once; those whose address is known already are left as they are and not returned.
-- Guarantees: all or none; an index that is already another wallet's fails with wallets_chain_id_derivation_index_key.
-- Parameters: chain_id, addresses text[], indices bigint[] (NULL: foreign), user_ids uuid[] (NULL: nobody's).
INSERT INTO wallets (chain_id, address, derivation_index, user_id)
SELECT %(chain_id)s, given.address, given.derivation_index, given.user_id
FROM unnest(%(addresses)s::text[], %(indices)s::bigint[], %(user_ids)s::uuid[])
     AS given (address, derivation_index, user_id)
ON CONFLICT (chain_id, address) DO NOTHING
RETURNING id, address, derivation_index;

-- Wallets that say they are ours, to be derived again and compared. Read in slices by id: parameters after, limit.
SELECT id, address, derivation_index
FROM wallets
WHERE chain_id = %(chain_id)s AND derivation_index IS NOT NULL AND id > %(after)s
ORDER BY id
LIMIT %(limit)s;

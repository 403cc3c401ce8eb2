-- Wallets that say they are ours, to be derived again and compared, the highest indices first. Read in slices: parameters below,
-- limit.
SELECT id, address, derivation_index
FROM wallets
WHERE chain_id = %(chain_id)s AND derivation_index < %(below)s
ORDER BY derivation_index DESC
LIMIT %(limit)s;

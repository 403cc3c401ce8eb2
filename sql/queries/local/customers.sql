-- The customers' deposit wallets, in order of derivation.
SELECT w.id, w.address, w.derivation_index
FROM wallets w
JOIN chains c ON c.id = w.chain_id
WHERE c.name = 'tron' AND w.derivation_index >= %(first)s
ORDER BY w.derivation_index;

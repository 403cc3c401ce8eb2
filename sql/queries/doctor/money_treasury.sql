-- Of these addresses (%(addresses)s), where a chain's tokens or gas would go, those that are customers' wallets: indices 0 to 9 are
-- our own.
SELECT w.address, w.id
FROM wallets w
WHERE w.chain_id = %(chain_id)s AND w.address = ANY (%(addresses)s::text[])
  AND (w.derivation_index IS NULL OR w.derivation_index >= 10)

-- The address of the first wallet.
SELECT address FROM wallets ORDER BY id LIMIT 1

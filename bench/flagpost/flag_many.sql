-- Raises the flag of many wallets in one statement.
UPDATE wallets SET needs_gas = true WHERE id <= %(wallets)s

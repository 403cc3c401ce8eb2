-- Raises the flag of a range of wallets in one statement.
UPDATE wallets SET needs_gas = true WHERE id BETWEEN %(first)s AND %(last)s

-- Raises the flag of many wallets in one statement.
UPDATE wallets SET needs_gas = true WHERE id <= ('00000000-0000-7000-8000-' || lpad(to_hex(%(wallets)s::integer), 12, '0'))::uuid

-- Raises the flag of a range of wallets in one statement.
UPDATE wallets SET needs_gas = true WHERE id BETWEEN ('00000000-0000-7000-8000-' || lpad(to_hex(%(first)s::integer), 12, '0'))::uuid
                                               AND ('00000000-0000-7000-8000-' || lpad(to_hex(%(last)s::integer), 12, '0'))::uuid

-- One event: an operator, a deposit or the sync raises the flag of one wallet.
UPDATE wallets SET needs_gas = true WHERE id = ('00000000-0000-7000-8000-' || lpad(to_hex(%(wallet_id)s::integer), 12, '0'))::uuid

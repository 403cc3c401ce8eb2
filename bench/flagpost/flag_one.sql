-- One event: an operator, a deposit or the sync raises the flag of one wallet.
UPDATE wallets SET needs_gas = true WHERE id = %(wallet_id)s

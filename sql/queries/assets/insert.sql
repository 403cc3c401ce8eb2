-- A token with its thresholds (raw units). Its balances of every wallet of the chain come into being with it, due at once.
-- Guarantees: a contract that is there already inserts nothing (no row).
INSERT INTO asset_on_chain (
    chain_id, symbol, contract_address, decimals, is_active, consolidate_flag_above, consolidate_execute_min, transfer_tolerance
) VALUES (
    %(chain_id)s, %(symbol)s, %(contract)s, %(decimals)s, %(is_active)s, %(flag_above)s, %(execute_min)s, %(tolerance)s
)
ON CONFLICT (chain_id, contract_address) DO NOTHING
RETURNING id;

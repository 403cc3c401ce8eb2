-- USDT on the simulated network with the project's default thresholds (200 and 100 USDT).
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, consolidate_execute_min)
VALUES (%(chain_id)s, 'USDT', %(contract)s, 6, 200000000, 100000000)
ON CONFLICT (chain_id, contract_address) DO NOTHING;

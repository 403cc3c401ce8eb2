-- USDT on a local network with the project's default thresholds (200 and 100 USDT).
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, consolidate_execute_min)
SELECT %(chain_id)s, 'USDT', %(contract)s, %(decimals)s, 200 * one.raw, 100 * one.raw
FROM (SELECT ('1' || repeat('0', %(decimals)s::integer))::numeric AS raw) one
ON CONFLICT (chain_id, contract_address) DO NOTHING;

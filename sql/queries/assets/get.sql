-- A token by its symbol or contract, with its thresholds in raw units; the function refuses one that is not there, or several.
SELECT a.id, c.name AS chain, c.family, a.symbol, a.contract_address, a.decimals, a.is_active, a.consolidate_flag_above,
       a.consolidate_execute_min, a.transfer_tolerance
FROM asset_named(%(chain)s, %(token)s) a
JOIN chains c ON c.id = a.chain_id;

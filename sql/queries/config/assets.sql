-- Every token with its rules.
SELECT a.id, c.name, a.symbol, a.contract_address, a.decimals, a.is_active, a.consolidate_flag_above, a.consolidate_execute_min,
       a.transfer_tolerance
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id
WHERE a.contract_address IS NOT NULL
ORDER BY c.id, a.id

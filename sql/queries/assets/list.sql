-- The assets of a chain (NULL: of every chain), the coin first, with their thresholds in raw units.
SELECT a.id, c.name AS chain, c.family, a.symbol, a.contract_address, a.decimals, a.is_active, a.consolidate_flag_above,
       a.consolidate_execute_min, a.transfer_tolerance
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id
WHERE %(chain)s::text IS NULL OR c.name = %(chain)s::text
ORDER BY c.id, a.contract_address IS NOT NULL, a.id;

-- Active tokens of a chain.
SELECT symbol, decimals, contract_address, consolidate_flag_above, consolidate_execute_min
FROM asset_on_chain
WHERE chain_id = %(chain_id)s AND is_active AND contract_address IS NOT NULL
ORDER BY id;

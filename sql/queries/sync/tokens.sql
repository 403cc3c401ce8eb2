-- The contracts of a chain's tokens that are read.
SELECT contract_address FROM asset_on_chain
WHERE chain_id = %(chain_id)s AND is_active AND contract_address IS NOT NULL

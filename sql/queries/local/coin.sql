-- The native coin of a local network. Guarantees: at most one row, whoever runs it twice.
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals)
SELECT %(chain_id)s, %(symbol)s, NULL, %(decimals)s
WHERE NOT EXISTS (SELECT FROM asset_on_chain WHERE chain_id = %(chain_id)s AND contract_address IS NULL);

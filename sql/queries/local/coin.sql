-- TRX, the native coin: 1 TRX is 1,000,000 sun. Guarantees: at most one row, whoever runs it twice.
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals)
SELECT %(chain_id)s, 'TRX', NULL, 6
WHERE NOT EXISTS (SELECT FROM asset_on_chain WHERE chain_id = %(chain_id)s AND contract_address IS NULL);

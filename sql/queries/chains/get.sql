-- A chain by its name, with what opening it takes and its native coin. No row: there is none of that name.
SELECT c.id, c.name, c.family, c.is_active, c.network_id, c.nodes, c.fees, c.treasury_address,
       extract(epoch FROM c.block_time)::float8 AS block_seconds, coin.symbol AS coin, coin.decimals AS coin_decimals
FROM chains c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL
WHERE c.name = %(chain)s;

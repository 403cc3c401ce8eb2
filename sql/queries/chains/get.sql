-- A chain by its name, with what opening it takes, its gas policy and its native coin. The function refuses a name
-- that is none.
SELECT c.id, c.name, c.family, c.is_active, c.network_id, c.nodes, c.fees, c.treasury_address, c.gas_policy, c.gas_amount,
       extract(epoch FROM c.block_time)::float8 AS block_seconds, coin.symbol AS coin, coin.decimals AS coin_decimals
FROM chain_named(%(chain)s) c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL;

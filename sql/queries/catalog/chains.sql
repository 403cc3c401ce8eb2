-- Every chain: what opening it takes, its addresses and gas rules, and its native coin.
SELECT c.id, c.name, c.family, c.is_active, c.network_id, c.nodes, extract(epoch FROM c.block_time)::float8 AS block_seconds,
       c.fees, c.replace_after_blocks, c.treasury_address, c.gas_address, c.gas_policy, c.gas_amount, c.gas_max_per_topup,
       c.gas_max_per_day, coin.symbol AS coin, coin.decimals AS coin_decimals
FROM chains c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL
ORDER BY c.id;

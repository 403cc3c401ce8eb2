-- Each active chain with its rules, for the checks that ask its node.
SELECT c.id, c.name, c.family, c.network_id, c.nodes, c.treasury_address, c.gas_address, c.gas_policy,
       c.gas_flag_below, c.gas_execute_below, c.gas_amount, c.gas_max_per_topup, c.gas_max_per_day, c.gas_max_total,
       c.fees, extract(epoch FROM c.block_time)::float8 AS block_seconds,
       coalesce((SELECT sum(g.amount + g.fees) FROM gas_spending g WHERE g.chain_id = c.id), 0) AS gas_spent_total,
       n.symbol AS native_symbol, n.decimals AS native_decimals
FROM chains c
LEFT JOIN asset_on_chain n ON n.chain_id = c.id AND n.contract_address IS NULL
WHERE c.is_active
ORDER BY c.id;

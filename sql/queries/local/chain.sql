-- The simulated network as chain `tron`: inserted on the first start, on later ones only where to reach it.
-- Guarantees: rules an operator has changed stay as they are; a database whose `tron` is another network is not touched
-- (no row returned).
INSERT INTO chains AS c (
    name, family, network_id, nodes, treasury_address, gas_address, gas_policy,
    gas_flag_below, gas_execute_below, gas_amount, fee_reserve, gas_cooldown,
    gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval, block_time
) VALUES (
    'tron', 'tron', %(network_id)s, %(nodes)s, %(treasury)s, %(gas)s, %(gas_policy)s,
    %(gas_flag_below)s, 1000000, 5000000, 1000000, %(gas_cooldown)s,
    50000000, 2000000000, 100000000000, %(sync_interval)s, %(block_time)s
)
ON CONFLICT (name) DO UPDATE SET nodes = excluded.nodes, treasury_address = excluded.treasury_address,
    gas_address = excluded.gas_address
WHERE c.network_id = excluded.network_id
RETURNING id, gas_policy;

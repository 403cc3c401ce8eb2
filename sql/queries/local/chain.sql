-- A local network as the chain of its name: inserted on the first start, on later ones only where to reach it.
-- Guarantees: rules an operator has changed stay as they are; a database whose chain of that name is another network is
-- not touched (no row returned).
INSERT INTO chains AS c (
    name, family, network_id, nodes, treasury_address, gas_address, gas_policy,
    gas_flag_below, gas_execute_below, gas_amount, fee_reserve, gas_cooldown,
    gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval, block_time, fees
) VALUES (
    %(chain)s, %(family)s, %(network_id)s, %(nodes)s, %(treasury)s, %(gas)s, %(gas_policy)s,
    %(gas_flag_below)s, %(gas_execute_below)s, %(gas_amount)s, %(fee_reserve)s, %(gas_cooldown)s,
    %(gas_max_per_topup)s, %(gas_max_per_wallet_day)s, %(gas_max_per_day)s, %(sync_interval)s, %(block_time)s, %(fees)s
)
ON CONFLICT (name) DO UPDATE SET nodes = excluded.nodes, treasury_address = excluded.treasury_address,
    gas_address = excluded.gas_address
WHERE c.network_id = excluded.network_id
RETURNING id, gas_policy;

-- A new chain with its native coin. Guarantees: both or none; a name or a network that is taken inserts nothing (no row).
-- Amounts are raw units of the coin.
WITH chain AS (
    INSERT INTO chains (
        name, family, is_active, network_id, nodes, gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
        gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval, block_time
    ) VALUES (
        %(name)s, %(family)s, %(is_active)s, %(network_id)s, %(nodes)s, %(gas_policy)s, %(gas_flag_below)s,
        %(gas_execute_below)s, %(gas_amount)s, %(fee_reserve)s, %(gas_max_per_topup)s, %(gas_max_per_wallet_day)s,
        %(gas_max_per_day)s, make_interval(secs => %(sync_interval)s), make_interval(secs => %(block_time)s)
    )
    ON CONFLICT DO NOTHING
    RETURNING id
), coin AS (
    INSERT INTO asset_on_chain (chain_id, symbol, decimals) SELECT id, %(coin)s, %(decimals)s FROM chain
)
SELECT id FROM chain;

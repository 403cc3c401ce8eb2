-- A new chain with its native coin; amounts are raw units of the coin.
SELECT add_chain(
    name => %(name)s, family => %(family)s, network_id => %(network_id)s, coin => %(coin)s, decimals => %(decimals)s,
    gas_flag_below => %(gas_flag_below)s, gas_execute_below => %(gas_execute_below)s, gas_amount => %(gas_amount)s,
    fee_reserve => %(fee_reserve)s, gas_max_per_topup => %(gas_max_per_topup)s,
    gas_max_per_wallet_day => %(gas_max_per_wallet_day)s, gas_max_per_day => %(gas_max_per_day)s,
    gas_policy => %(gas_policy)s, nodes => %(nodes)s, block_time => make_interval(secs => %(block_time)s),
    sync_interval => make_interval(secs => %(sync_interval)s), is_active => %(is_active)s, admin => %(admin)s);

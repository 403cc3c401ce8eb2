-- Every chain with its terms, and the native coin its amounts are counted in.
SELECT c.id, c.name, c.family, coin.symbol, coin.decimals, c.is_active, c.gas_policy, c.gas_flag_below, c.gas_execute_below,
       c.gas_amount, c.fee_reserve, c.gas_cooldown, c.gas_max_per_topup, c.gas_max_per_wallet_day, c.gas_max_per_day,
       c.gas_max_total, c.fee_max, c.fee_rise_max, c.topup_fee_multiple, c.sync_interval, c.transaction_lifetime, c.clock_ahead, c.fees,
       c.replace_after_blocks
FROM chains c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL
ORDER BY c.id

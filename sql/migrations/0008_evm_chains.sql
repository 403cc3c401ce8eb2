-- BNB Smart Chain and Ethereum with the tokens that most deposits come in, as examples: switched off, and without nodes.
--
-- Guarantees: nothing is read or paid on them before an operator names a node and says `flagpost chains enable`, which asks
-- that node for its chain id and every token for its decimals. Their rules are in their own coin (wei).
--
-- A token transfer takes 50,000 to 65,000 units of gas. BSC at 0.05 to 1 gwei: up to 0.000065 BNB; its base fee is 0, so
-- the price is the node's own with a floor. Ethereum at 1 to 20 gwei: 0.0001 to 0.003 ETH, doubled for the base fee to
-- rise; there a coin balance in every wallet would cost more than it serves, hence on_demand.
WITH shipped AS (
    INSERT INTO chains (
        name, family, is_active, network_id, gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
        gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval, block_time, fees, replace_after_blocks
    ) VALUES (
        'bsc', 'evm', false, '56', 'threshold', 500000000000000, 200000000000000, 500000000000000, 20000000000000,
        5000000000000000, 20000000000000000, 2000000000000000000, '5 minutes', '0.45 seconds',
        '{"floor": 50000000, "cap": 20000000000}', 20
    ), (
        'ethereum', 'evm', false, '1', 'on_demand', 200000000000000, 200000000000000, 2000000000000000, 50000000000000,
        20000000000000000, 50000000000000000, 2000000000000000000, '5 minutes', '12 seconds',
        '{"cap": 200000000000}', 6
    )
    RETURNING id, name
)
INSERT INTO asset_on_chain (
    chain_id, symbol, contract_address, decimals, is_active, consolidate_flag_above, consolidate_execute_min
)
SELECT shipped.id, asset.symbol, asset.contract, asset.decimals, asset.is_active, asset.flag_above, asset.execute_min
FROM shipped
JOIN (VALUES
    (1, 'bsc', 'BNB', NULL, 18, true, NULL, NULL),
    -- BSC-USD: what its contract says of itself is USDT, with 18 decimals where Ethereum's has 6.
    (2, 'bsc', 'USDT', '0x55d398326f99059fF775485246999027B3197955', 18, true,
        200000000000000000000, 100000000000000000000),
    (3, 'ethereum', 'ETH', NULL, 18, true, NULL, NULL),
    -- Its transfer() returns nothing.
    (4, 'ethereum', 'USDT', '0xdAC17F958D2ee523a2206206994597C13D831ec7', 6, true, 200000000, 100000000),
    -- An ERC20 as the standard says.
    (5, 'ethereum', 'USDC', '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48', 6, false, 200000000, 100000000)
) AS asset (place, chain, symbol, contract, decimals, is_active, flag_above, execute_min) ON asset.chain = shipped.name
ORDER BY asset.place;

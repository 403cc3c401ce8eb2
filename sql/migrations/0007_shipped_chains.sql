-- The chains that most deposits come in: TRON's main network, BNB Smart Chain and Ethereum, and a test network of each.
--
-- Guarantees: nothing is read or paid on any of them before an operator names a node (FLAGPOST_NODES_<CHAIN>, or chains.nodes). All but
-- TRON are switched off: `flagpost chains enable` asks their node for its network, and every token for its decimals, before it
-- switches one on. Test networks have no tokens here: what passes for USDT there changes; `flagpost assets add` adds one.
--
-- TRON (sun): the default rules, so that a wallet can be inserted right after the first migrate. Limits that no rule demands but
-- prudence does: at most 50 TRX a top-up, 100 TRX a wallet and day, 10,000 TRX a day; a USDT transfer burns 14 to 60 TRX.
--
-- EVM (wei): a token transfer takes 50,000 to 65,000 units of gas. BSC at 0.05 to 1 gwei: up to 0.000065 BNB; its base fee is 0, so
-- the price is the node's own with a floor. Ethereum at 1 to 20 gwei: 0.0001 to 0.003 ETH, doubled for the base fee to
-- rise; there a coin balance in every wallet would cost more than it serves, hence on_demand. No
-- transaction may cost more than the largest top-up: 0.005 BNB, a token transfer at 60 gwei; 0.02 ETH, one at 250 gwei.
--
-- Network ids: chain ids of EIP-155; the genesis block ids that TRON nodes answer at height 0 (wallet/getblockbynum).
WITH shipped AS (
    INSERT INTO chains (
        name, family, is_active, network_id, gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
        gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fee_max, block_time, fees, replace_after_blocks
    ) VALUES (
        'tron', 'tron', true, '00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc', 'threshold',
        5000000, 1000000, 5000000, 1000000,
        50000000, 100000000, 10000000000, 100000000, '3 seconds', '{}', 6
    ), (
        'bsc', 'evm', false, '56', 'threshold', 500000000000000, 200000000000000, 500000000000000, 20000000000000,
        5000000000000000, 20000000000000000, 2000000000000000000, 5000000000000000, '0.45 seconds',
        '{"floor": 50000000, "cap": 20000000000}', 20
    ), (
        'ethereum', 'evm', false, '1', 'on_demand', 200000000000000, 200000000000000, 2000000000000000, 50000000000000,
        20000000000000000, 50000000000000000, 2000000000000000000, 20000000000000000, '12 seconds',
        '{"cap": 200000000000}', 6
    ), (
        'nile', 'tron', false, '0000000000000000d698d4192c56cb6be724a558448e2684802de4d6cd8690dc', 'threshold',
        5000000, 1000000, 5000000, 1000000,
        50000000, 100000000, 10000000000, 100000000, '3 seconds', '{}', 6
    ), (
        'bsc-testnet', 'evm', false, '97', 'threshold', 500000000000000, 200000000000000, 500000000000000, 20000000000000,
        5000000000000000, 20000000000000000, 2000000000000000000, 5000000000000000, '0.45 seconds',
        '{"floor": 50000000, "cap": 20000000000}', 20
    ), (
        'sepolia', 'evm', false, '11155111', 'on_demand', 200000000000000, 200000000000000, 2000000000000000, 50000000000000,
        20000000000000000, 50000000000000000, 2000000000000000000, 20000000000000000, '12 seconds',
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
    (1, 'tron', 'TRX', NULL, 6, true, NULL, NULL),
    (2, 'tron', 'USDT', 'TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t', 6, true, 200000000, 100000000),
    (3, 'bsc', 'BNB', NULL, 18, true, NULL, NULL),
    -- BSC-USD: what its contract says of itself is USDT, with 18 decimals where Ethereum's has 6.
    (4, 'bsc', 'USDT', '0x55d398326f99059fF775485246999027B3197955', 18, true,
        200000000000000000000, 100000000000000000000),
    (5, 'ethereum', 'ETH', NULL, 18, true, NULL, NULL),
    -- Its transfer() returns nothing.
    (6, 'ethereum', 'USDT', '0xdAC17F958D2ee523a2206206994597C13D831ec7', 6, true, 200000000, 100000000),
    -- An ERC20 as the standard says.
    (7, 'ethereum', 'USDC', '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48', 6, false, 200000000, 100000000),
    (8, 'nile', 'TRX', NULL, 6, true, NULL, NULL),
    (9, 'bsc-testnet', 'tBNB', NULL, 18, true, NULL, NULL),
    (10, 'sepolia', 'ETH', NULL, 18, true, NULL, NULL)
) AS asset (place, chain, symbol, contract, decimals, is_active, flag_above, execute_min) ON asset.chain = shipped.name
ORDER BY asset.place;

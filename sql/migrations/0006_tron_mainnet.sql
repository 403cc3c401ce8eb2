-- TRON's main network with TRX and USDT, by the default rules, so that a wallet can be inserted right after the first
-- migrate. Nothing moves before an operator names a node (FLAGPOST_NODES_TRON, or chains.nodes).
--
-- Limits that no rule demands but prudence does: at most 50 TRX a top-up, 100 TRX a wallet and day, 10,000 TRX a day.
WITH tron AS (
    INSERT INTO chains (
        name, family, network_id, gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
        gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day
    ) VALUES (
        'tron', 'tron', '00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc', 'threshold',
        5000000, 1000000, 5000000, 1000000, 50000000, 100000000, 10000000000
    )
    RETURNING id
)
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, consolidate_execute_min)
SELECT tron.id, asset.symbol, asset.contract, 6, asset.flag_above, asset.execute_min
FROM tron, (VALUES
    (1, 'TRX', NULL, NULL, NULL),
    (2, 'USDT', 'TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t', 200000000, 100000000)
) AS asset (place, symbol, contract, flag_above, execute_min)
ORDER BY asset.place;

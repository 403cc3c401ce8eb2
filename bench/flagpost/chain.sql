-- One chain with its coin and one token, with the default rules of the automation.
DELETE FROM asset_on_chain;
DELETE FROM chains;
INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
                    gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)
VALUES ('bench', 'tron', 'bench', 5000000, 1000000, 5000000, 1000000, 50000000, 100000000, 1000000000);
INSERT INTO asset_on_chain (chain_id, symbol, decimals) SELECT id, 'TRX', 6 FROM chains;
INSERT INTO asset_on_chain
    (chain_id, symbol, contract_address, decimals, consolidate_flag_above, consolidate_execute_min)
SELECT id, 'USDT', 'TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t', 6, 200000000, 100000000 FROM chains;

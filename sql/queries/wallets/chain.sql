-- The chain of that name, for commands that work on one chain. No row: there is no such chain.
SELECT c.id, c.name, c.family, c.gas_policy, c.gas_amount, coin.symbol AS coin, coin.decimals AS coin_decimals
FROM chains c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL
WHERE c.name = %(chain)s

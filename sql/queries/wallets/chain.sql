-- The chain of that name, for commands that work on one chain. No row: there is no such chain.
SELECT id, name, family, is_active, network_id, nodes, treasury_address, gas_address, gas_policy
FROM chains
WHERE name = %(chain)s;

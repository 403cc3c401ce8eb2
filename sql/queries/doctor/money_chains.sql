-- Active chains with the addresses that tokens and gas go to and from, as the database has them.
SELECT c.id, c.name, c.family, c.network_id, c.treasury_address, c.gas_address FROM chains c WHERE c.is_active ORDER BY c.id

-- The chain that has a name, else the one that is a network already. No row: neither.
SELECT name, network_id, is_active FROM chains
 WHERE name = %(name)s OR (family = %(family)s AND network_id = %(network_id)s)
 ORDER BY name = %(name)s DESC
 LIMIT 1;

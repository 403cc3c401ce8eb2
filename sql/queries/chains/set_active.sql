-- Switches a chain on or off; nodes, where given, replace those of its row. Whether it was on before.
SELECT set_chain_active(%(chain)s, %(active)s, %(nodes)s::jsonb, %(admin)s) AS was_active;

-- Switches a chain on or off. With nodes given they replace those it has. Rings config, so that it is obeyed at once.
UPDATE chains SET is_active = %(is_active)s, nodes = coalesce(%(nodes)s::jsonb, nodes) WHERE id = %(chain_id)s;

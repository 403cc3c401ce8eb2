-- What the migrating transaction depends on, set for it alone: through a pooler a session belongs to others afterwards.
-- Settings that this server does not know are left out.
SELECT set_config(wanted.name, wanted.value, true)
FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted (name, value)
WHERE current_setting(wanted.name, true) IS NOT NULL

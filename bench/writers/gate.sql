-- Whether NOTIFY may be suppressed in a storm of flags; the default says nothing of it here.
INSERT INTO system_config (key, value) VALUES ('notify.gate', to_jsonb(%(gate)s::boolean))
ON CONFLICT (key) DO UPDATE SET value = excluded.value

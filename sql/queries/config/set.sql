-- Writes one key of the runtime configuration; the trigger rings `config` only if the value changed.
INSERT INTO system_config (key, value, description) VALUES (%(key)s, %(value)s, %(description)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, description = excluded.description

-- One key of the runtime configuration; a value that is there stays (an operator may have set it).
INSERT INTO system_config (key, value, description)
VALUES (%(key)s, %(value)s, %(description)s)
ON CONFLICT (key) DO NOTHING;

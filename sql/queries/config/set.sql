-- Writes one key of the runtime configuration; triggers write admin_actions and NOTIFY config if the value changed.
SELECT set_system_config(%(key)s, %(value)s, %(description)s, %(admin)s)

-- Every row of the runtime configuration.
SELECT key, value FROM system_config ORDER BY key

-- What was applied, in order.
SELECT version, name, checksum FROM public.schema_migrations ORDER BY version;

-- Whether this database was ever migrated.
SELECT to_regclass('public.schema_migrations') IS NOT NULL;

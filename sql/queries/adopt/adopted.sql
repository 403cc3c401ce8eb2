-- Whether this database was adopted before: the schema that keeps the old tables, and our own ledger.
SELECT to_regnamespace('adopted') IS NOT NULL AS has_schema, to_regclass('public.schema_migrations') IS NOT NULL AS migrated;

-- The number of the newest migration in this database; 0 before the first.
CREATE OR REPLACE FUNCTION schema_version() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(max(version), 0) FROM schema_migrations
$$;

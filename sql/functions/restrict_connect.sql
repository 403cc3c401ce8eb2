-- Who may connect to this database. By default everybody who has a login on the server may, and whoever may connect can take
-- advisory locks, fill the server's table of locks and its notification queue, and hold old transactions.
--
-- Guarantees: PUBLIC has neither CONNECT nor TEMPORARY here; our roles have CONNECT, and their logins inherit it; nobody is locked
-- out who works here already: roles that own something in this database or hold a right on something, their members, members of
-- predefined roles (monitoring), logins for replication, and whoever is connected now keep both, by name.

-- Returns whether PUBLIC had them (NULL: it has, and only the owner of the database can take them away), and to whom they were
-- given. Run at the end of every migrate, by the one who migrates.
CREATE OR REPLACE FUNCTION restrict_connect() RETURNS TABLE (restricted boolean, granted name[])
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    here pg_database;
    is_open boolean;
    own oid[] := ARRAY(SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (own_roles()));
    holders oid[];
    one record;
BEGIN
    SELECT * INTO here FROM pg_database d WHERE d.datname = current_database();
    is_open := EXISTS (SELECT FROM aclexplode(coalesce(here.datacl, acldefault('d', here.datdba))) acl WHERE acl.grantee = 0);
    IF NOT pg_has_role(here.datdba, 'USAGE') THEN
        RETURN QUERY SELECT CASE WHEN is_open THEN NULL ELSE false END, '{}'::name[];
        RETURN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s', here.datname, array_to_string(own_roles(), ', '));
    IF NOT is_open THEN
        RETURN QUERY SELECT false, '{}'::name[];
        RETURN;
    END IF;

    holders := ARRAY(
        SELECT s.refobjid FROM pg_shdepend s
        WHERE s.dbid = here.oid AND s.refclassid = 'pg_authid'::regclass AND s.refobjid <> ALL (own)
        UNION
        SELECT r.oid FROM pg_roles r WHERE r.rolname ~ '^pg_');
    EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', here.datname);
    granted := '{}';
    FOR one IN
        SELECT r.rolname AS name
        FROM pg_roles r
        WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND r.oid <> ALL (own)
          AND NOT (has_database_privilege(r.oid, here.oid, 'CONNECT') AND has_database_privilege(r.oid, here.oid, 'TEMPORARY'))
          AND (r.rolreplication
               OR r.oid IN (SELECT a.usesysid FROM pg_stat_activity a WHERE a.datid = here.oid)
               OR EXISTS (SELECT FROM unnest(holders) AS h (oid) WHERE pg_has_role(r.oid, h.oid, 'MEMBER'))
               -- A login of ours that does not inherit what its role may.
               OR (NOT has_database_privilege(r.oid, here.oid, 'CONNECT')
                   AND EXISTS (SELECT FROM unnest(own) AS h (oid) WHERE pg_has_role(r.oid, h.oid, 'MEMBER'))))
        ORDER BY 1
    LOOP
        EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', here.datname, one.name);
        granted := granted || one.name;
    END LOOP;
    restricted := true;
    RETURN NEXT;
END
$$;

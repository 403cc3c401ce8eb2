-- What in this database is Flagpost's, for whoever grants, revokes and checks rights (sql/roles/20_privileges.sql, `doctor`): in
-- the schema public other things may stand beside it, and their rights are not ours to touch.

-- The roles of our processes, and of who only looks.
CREATE OR REPLACE FUNCTION own_roles() RETURNS name[]
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT ARRAY['pipeline_sync', 'pipeline_deposits', 'pipeline_executor', 'pipeline_confirmations', 'pipeline_web',
                 'pipeline_readonly']::name[]
$$;

-- Tables and views, and the sequences of their columns.
CREATE OR REPLACE FUNCTION own_relations() RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH named (oid) AS (
        SELECT to_regclass('public.' || known.name)::oid
        FROM unnest(ARRAY[
            'schema_migrations', 'chains', 'asset_on_chain', 'wallets', 'wallet_balances', 'state_transitions', 'job_logs',
            'job_logs_seq', 'transfers', 'gas_spending', 'fees_paid', 'chain_transactions', 'nonces', 'senders', 'chain_cursors',
            'system_config', 'worker_registry', 'worker_types', 'leaderships', 'admin_actions',
            'user_wallets', 'wallet_flag_rule', 'wallet_state'
        ]) AS known (name)
        UNION ALL
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'flagpost_locks' AND c.relkind IN ('r', 'v', 'S')
    )
    SELECT oid FROM named WHERE oid IS NOT NULL
    UNION
    SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid IN (SELECT named.oid FROM named)
$$;

-- Functions are known by the search_path that all of them pin.
CREATE OR REPLACE FUNCTION own_functions() RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'public' AND p.proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp']
$$;

-- Every right on our objects that neither the owner nor one of our roles holds: PUBLIC and others, one row a right. Rights on
-- a single column name it.
CREATE OR REPLACE FUNCTION rights_of_others() RETURNS TABLE (object text, grantee text, privilege text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT held.object, CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END, held.privilege
    FROM (
        SELECT c.oid::regclass::text AS object, c.relowner AS owner, acl.grantee, acl.privilege_type AS privilege
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid IN (SELECT own_relations())
        UNION ALL
        SELECT format('%s.%I', c.oid::regclass, a.attname), c.relowner, acl.grantee, acl.privilege_type
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(a.attacl) acl
        WHERE c.oid IN (SELECT own_relations())
        UNION ALL
        SELECT p.oid::regprocedure::text, p.proowner, acl.grantee, acl.privilege_type
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
        WHERE p.oid IN (SELECT own_functions())
        UNION ALL
        SELECT format('schema %I', n.nspname), n.nspowner, acl.grantee, acl.privilege_type
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) acl
        WHERE n.nspname = 'flagpost_locks'
    ) held
    WHERE held.grantee <> held.owner
      AND held.grantee NOT IN (SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (own_roles()))
    ORDER BY 1, 2, 3
$$;

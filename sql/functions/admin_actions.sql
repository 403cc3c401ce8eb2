-- The audit log, admin_actions: who changed what by hand, and what it was before.
--
-- Guarantees: a row is written in the transaction of the change, so that there is none without the other. Every function under
-- sql/functions/admin_*.sql writes one for what it changed, and none where nothing changed. Rules (chains, asset_on_chain,
-- system_config) write theirs by trigger (triggers/admin_actions.sql), so that an UPDATE typed in psql is logged, too.
-- Flags and jobs that are changed by hand in psql, without a function, are not: they are written by every process all the time.
-- No row has a secret: of a node only its host is kept, because keys stand in the path.

-- Writes one row. `p_admin`: who did it (auth.users.id), NULL for a person whom only the database knows; `details` then has
-- the login, the role and the program (application_name) of the session in any case.
CREATE OR REPLACE FUNCTION write_admin_action(
    p_action text, p_target_type text, p_target_id text, p_details jsonb, p_admin uuid
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO admin_actions (admin_user_id, action_type, target_type, target_id, details)
    VALUES (p_admin, p_action, p_target_type, p_target_id, p_details || jsonb_build_object(
        'login', session_user, 'role', calling_role(), 'program', current_setting('application_name')));
END
$$;

-- Says for whom the rules are changed that follow in this transaction (NULL: for nobody known), for triggers/admin_actions.sql.
CREATE OR REPLACE FUNCTION act_for_admin(p_admin uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM set_config('flagpost.admin_user_id', coalesce(p_admin::text, ''), true);
END
$$;

-- Nodes (chains.nodes) without what may be secret in them: scheme and host of each.
CREATE OR REPLACE FUNCTION node_origins(nodes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(
        substring(CASE jsonb_typeof(node) WHEN 'object' THEN node ->> 'url' ELSE node #>> '{}' END
                  FROM '^([A-Za-z]+://)(?:[^/?#]*@)?[^/?#]*')
        || substring(CASE jsonb_typeof(node) WHEN 'object' THEN node ->> 'url' ELSE node #>> '{}' END
                     FROM '^[A-Za-z]+://(?:[^/?#]*@)?([^/?#]*)')
        ORDER BY place), '[]')
    FROM jsonb_array_elements(nodes) WITH ORDINALITY AS given (node, place)
$$;

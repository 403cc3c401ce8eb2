-- What operators say in system_config: SELECT set_system_config('paused', 'true'). Processes that run obey at the commit.
--
-- Guarantees: triggers/admin_actions.sql writes admin_actions for what changed. Which keys there are, and which values each takes, is
-- for who calls (pipeline/config): a row that no process understands keeps its last good value, and `doctor` names it.
CREATE OR REPLACE FUNCTION set_system_config(key text, value jsonb, description text DEFAULT NULL, admin uuid DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM act_for_admin(admin);
    INSERT INTO system_config AS c (key, value, description)
    VALUES (set_system_config.key, set_system_config.value, set_system_config.description)
    ON CONFLICT (key) DO UPDATE
    SET value = excluded.value, description = coalesce(excluded.description, c.description)
    WHERE (c.value, c.description) IS DISTINCT FROM (excluded.value, coalesce(excluded.description, c.description));
    PERFORM act_for_admin(NULL);
END
$$;
REVOKE ALL ON FUNCTION set_system_config(text, jsonb, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_system_config(text, jsonb, text, uuid) IS
    'Writes one setting of the whole system: SELECT set_system_config(''paused'', ''true'')';

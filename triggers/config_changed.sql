-- A change of the configuration (system_config, chains, asset_on_chain) notifies config once per statement, so that it is
-- obeyed without a restart: {"table": "system_config", "keys": ["paused"]}. Chains are named by name, assets as chain/symbol.
--
-- A row written with the same content notifies nobody.

CREATE OR REPLACE FUNCTION notify_config() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rows_changed jsonb[];
    keys jsonb;
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            rows_changed := ARRAY(SELECT to_jsonb(n) FROM new_rows n);
        WHEN 'DELETE' THEN
            rows_changed := ARRAY(SELECT to_jsonb(o) FROM old_rows o);
        ELSE
            rows_changed := ARRAY(
                SELECT to_jsonb(n) - 'updated_at' FROM new_rows n
                EXCEPT
                SELECT to_jsonb(o) - 'updated_at' FROM old_rows o
            );
    END CASE;

    SELECT jsonb_agg(named.key ORDER BY named.key) INTO keys
    FROM (
        SELECT DISTINCT left(CASE TG_TABLE_NAME
            WHEN 'system_config' THEN changed ->> 'key'
            WHEN 'chains' THEN changed ->> 'name'
            ELSE (SELECT c.name FROM chains c WHERE c.id = (changed ->> 'chain_id')::integer) || '/' || (changed ->> 'symbol')
        END, 64) AS key
        FROM unnest(rows_changed) AS changed
        ORDER BY 1 LIMIT 20
    ) named;

    IF keys IS NOT NULL THEN
        PERFORM notify_listeners('config', format('{"table": "%s", "keys": %s}', TG_TABLE_NAME, keys));
    END IF;
    RETURN NULL;
END
$$;

DO $$
DECLARE
    watched text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['system_config', 'chains', 'asset_on_chain'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER config_changed_insert AFTER INSERT ON %I
            REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_config()', watched);
        EXECUTE format('CREATE OR REPLACE TRIGGER config_changed_update AFTER UPDATE ON %I
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_config()', watched);
        EXECUTE format('CREATE OR REPLACE TRIGGER config_changed_delete AFTER DELETE ON %I
            REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_config()', watched);
    END LOOP;
END
$$;

-- Every change of a rule is written to admin_actions with the values before and after, whoever makes it and however: by a function
-- under sql/functions/admin_*.sql, which says for whom (act_for_admin), or by a statement typed in psql.
--
-- A row that is written with the same content is no change. Numbers of chains and assets are kept as text: they are raw units,
-- beyond what readers of JSON keep exact.

CREATE OR REPLACE FUNCTION write_changed_rule() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    kind text := CASE TG_TABLE_NAME WHEN 'chains' THEN 'chain' WHEN 'asset_on_chain' THEN 'asset' ELSE 'config' END;
    one jsonb := to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END);
    before jsonb := '{}';
    after jsonb := '{}';
    verb text;
BEGIN
    SELECT coalesce(jsonb_object_agg(k.key, shown_rule(kind, k.key, o.value)) FILTER (WHERE o.key IS NOT NULL), '{}'),
           coalesce(jsonb_object_agg(k.key, shown_rule(kind, k.key, n.value)) FILTER (WHERE n.key IS NOT NULL), '{}')
    INTO before, after
    FROM jsonb_object_keys(one) AS k (key)
    LEFT JOIN jsonb_each(CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END) o ON o.key = k.key
    LEFT JOIN jsonb_each(CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END) n ON n.key = k.key
    WHERE k.key NOT IN ('id', 'created_at', 'updated_at') AND o.value IS DISTINCT FROM n.value;

    IF TG_OP = 'UPDATE' AND after = '{}' THEN
        RETURN NULL;
    END IF;
    verb := CASE
        WHEN TG_OP = 'INSERT' THEN 'add'
        WHEN TG_OP = 'DELETE' THEN 'delete'
        WHEN after -> 'is_active' = 'true' THEN 'enable'
        WHEN after -> 'is_active' = 'false' THEN 'disable'
        ELSE 'set'
    END;
    PERFORM write_admin_action(
        format('%s.%s', kind, verb), kind,
        CASE kind WHEN 'config' THEN one ->> 'key'
                  WHEN 'chain' THEN one ->> 'name'
                  ELSE (SELECT format('%s/%s', c.name, one ->> 'symbol') FROM chains c WHERE c.id = (one ->> 'chain_id')::integer) END,
        jsonb_build_object('before', before, 'after', after),
        nullif(current_setting('flagpost.admin_user_id', true), '')::uuid);
    RETURN NULL;
END
$$;

-- One value as admin_actions keeps it.
CREATE OR REPLACE FUNCTION shown_rule(kind text, key text, value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE
        WHEN kind = 'chain' AND key = 'nodes' THEN node_origins(value)
        WHEN kind <> 'config' AND jsonb_typeof(value) = 'number' THEN to_jsonb(value #>> '{}')
        ELSE value
    END
$$;

DO $$
DECLARE
    watched text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['chains', 'asset_on_chain', 'system_config'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER admin_actions AFTER INSERT OR UPDATE OR DELETE ON %I
            FOR EACH ROW EXECUTE FUNCTION write_changed_rule()', watched);
    END LOOP;
END
$$;

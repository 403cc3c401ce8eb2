-- What operators do to assets by hand. Processes that run obey at the commit, and a change of thresholds evaluates all wallets of the
-- chain anew.
--
-- Guarantees: triggers/admin_actions.sql writes admin_actions for what changed, with the values before and after. `admin` is who does
-- it (auth.users.id), NULL where only the database knows. No node is asked here: `flagpost assets add` and `enable` ask first.

-- The token of a chain, by its symbol or its contract address. Raises where there is none, or several of that symbol.
CREATE OR REPLACE FUNCTION asset_named(chain text, token text) RETURNS asset_on_chain
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    on_chain chains := chain_named(chain);
    found asset_on_chain[] := ARRAY(
        SELECT a FROM asset_on_chain a
        WHERE a.chain_id = on_chain.id AND a.contract_address IS NOT NULL
          AND (upper(a.symbol) = upper(token) OR a.contract_address = token
               OR (on_chain.family = 'evm' AND lower(a.contract_address) = lower(token))));
BEGIN
    IF cardinality(found) > 1 THEN
        RAISE EXCEPTION '% has % tokens called %', chain, cardinality(found), token USING
            ERRCODE = 'FP018', HINT = 'Name it by its contract: flagpost assets list.';
    ELSIF cardinality(found) = 0 THEN
        RAISE EXCEPTION '% has no token ''%''; there are: %', chain, token, coalesce((
            SELECT string_agg(a.symbol, ', ' ORDER BY a.symbol) FROM asset_on_chain a
            WHERE a.chain_id = on_chain.id AND a.contract_address IS NOT NULL), 'none') USING
            ERRCODE = 'no_data_found', HINT = 'Add it: flagpost assets add --help';
    END IF;
    RETURN found[1];
END
$$;

-- A token with its thresholds (raw units). Every wallet of the chain gets a balance of it, due at once. Raises where that contract
-- is there already.
CREATE OR REPLACE FUNCTION add_asset(
    chain text, contract_address text, symbol text, decimals integer, flag_above numeric, execute_min numeric,
    tolerance integer DEFAULT 0, is_active boolean DEFAULT true, admin uuid DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    on_chain chains := chain_named(chain);
BEGIN
    PERFORM act_for_admin(admin);
    INSERT INTO asset_on_chain (
        chain_id, symbol, contract_address, decimals, is_active, consolidate_flag_above, consolidate_execute_min, transfer_tolerance
    ) VALUES (
        on_chain.id, add_asset.symbol, add_asset.contract_address, add_asset.decimals, add_asset.is_active, flag_above, execute_min,
        tolerance
    );
    PERFORM act_for_admin(NULL);
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION '% is on % already', contract_address, chain USING ERRCODE = 'FP018', HINT = 'See: flagpost assets list.';
END
$$;
REVOKE ALL ON FUNCTION add_asset(text, text, text, integer, numeric, numeric, integer, boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION add_asset(text, text, text, integer, numeric, numeric, integer, boolean, uuid) IS
    'Adds a token with its thresholds in raw units; asks no node, as flagpost assets add does';

-- Switches a token on or off; off, it is neither read nor moved. Returns whether it was on before.
CREATE OR REPLACE FUNCTION set_asset_active(chain text, token text, active boolean, admin uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found asset_on_chain := asset_named(chain, token);
BEGIN
    PERFORM act_for_admin(admin);
    UPDATE asset_on_chain a SET is_active = active WHERE a.id = found.id;
    PERFORM act_for_admin(NULL);
    RETURN found.is_active;
END
$$;
REVOKE ALL ON FUNCTION set_asset_active(text, text, boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_asset_active(text, text, boolean, uuid) IS
    'Switches a token on or off: SELECT set_asset_active(''bsc'', ''USDC'', false)';

-- The thresholds and the tolerance of a token in one statement, as each is checked against the others; raw units, NULL leaves one
-- as it is.
CREATE OR REPLACE FUNCTION set_asset_thresholds(
    chain text, token text, flag_above numeric DEFAULT NULL, execute_min numeric DEFAULT NULL, tolerance integer DEFAULT NULL,
    admin uuid DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found asset_on_chain := asset_named(chain, token);
BEGIN
    PERFORM act_for_admin(admin);
    UPDATE asset_on_chain a
    SET consolidate_flag_above = coalesce(flag_above, a.consolidate_flag_above),
        consolidate_execute_min = coalesce(execute_min, a.consolidate_execute_min),
        transfer_tolerance = coalesce(tolerance, a.transfer_tolerance)
    WHERE a.id = found.id;
    PERFORM act_for_admin(NULL);
END
$$;
REVOKE ALL ON FUNCTION set_asset_thresholds(text, text, numeric, numeric, integer, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_asset_thresholds(text, text, numeric, numeric, integer, uuid) IS
    'When a token is moved, in raw units: SELECT set_asset_thresholds(''tron'', ''USDT'', flag_above => 500000000)';

-- Writes one rule of a token, `value` as the column takes it. Raises for a name that is no rule.
CREATE OR REPLACE FUNCTION set_asset_rule(chain text, token text, rule text, value text, admin uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found asset_on_chain := asset_named(chain, token);
BEGIN
    IF rule <> ALL (ARRAY['is_active', 'consolidate_flag_above', 'consolidate_execute_min', 'transfer_tolerance']) THEN
        RAISE EXCEPTION 'assets have no rule "%"', rule USING
            ERRCODE = 'invalid_parameter_value', HINT = format('See: flagpost config show %s.%s.', chain, token);
    END IF;
    PERFORM act_for_admin(admin);
    EXECUTE format('UPDATE asset_on_chain SET %I = $1::%s WHERE id = $2', rule, (
        SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
        WHERE a.attrelid = 'asset_on_chain'::regclass AND a.attname = rule)) USING value, found.id;
    PERFORM act_for_admin(NULL);
END
$$;
REVOKE ALL ON FUNCTION set_asset_rule(text, text, text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_asset_rule(text, text, text, text, uuid) IS
    'Writes one rule of a token: SELECT set_asset_rule(''tron'', ''USDT'', ''transfer_tolerance'', ''2'')';

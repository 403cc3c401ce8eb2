-- What operators do to chains by hand. Processes that run obey at the commit (triggers/config_changed.sql).
--
-- Guarantees: triggers/admin_actions.sql writes admin_actions for what changed, with the values before and after. `admin` is who does
-- it (auth.users.id), NULL where only the database knows. No node is asked here: `flagpost chains add` and `enable` ask first.

-- The row of a chain. Raises where there is none of that name.
CREATE OR REPLACE FUNCTION chain_named(chain text) RETURNS chains
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found chains;
BEGIN
    SELECT * INTO found FROM chains c WHERE c.name = chain;
    IF found.id IS NULL THEN
        RAISE EXCEPTION 'no chain is called ''%''; %', chain, coalesce(
            'there are: ' || (SELECT string_agg(c.name, ', ' ORDER BY c.name) FROM chains c), 'there is none yet') USING
            ERRCODE = 'no_data_found', HINT = 'Add it: flagpost chains add --help';
    END IF;
    RETURN found;
END
$$;

-- A new chain with its native coin, both or none. Amounts are raw units of the coin. Raises where the name, or the network, is
-- there already.
CREATE OR REPLACE FUNCTION add_chain(
    name text, family text, network_id text, coin text, decimals integer,
    gas_flag_below numeric, gas_execute_below numeric, gas_amount numeric, fee_reserve numeric,
    gas_max_per_topup numeric, gas_max_per_wallet_day numeric, gas_max_per_day numeric,
    gas_policy text DEFAULT 'threshold', nodes jsonb DEFAULT '[]', block_time interval DEFAULT '3 seconds',
    sync_interval interval DEFAULT '5 minutes', is_active boolean DEFAULT true, admin uuid DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    made chains;
BEGIN
    PERFORM act_for_admin(admin);
    INSERT INTO chains (
        name, family, is_active, network_id, nodes, gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
        gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, sync_interval, block_time
    ) VALUES (
        add_chain.name, add_chain.family, add_chain.is_active, add_chain.network_id, add_chain.nodes, add_chain.gas_policy,
        add_chain.gas_flag_below, add_chain.gas_execute_below, add_chain.gas_amount, add_chain.fee_reserve,
        add_chain.gas_max_per_topup, add_chain.gas_max_per_wallet_day, add_chain.gas_max_per_day, add_chain.sync_interval,
        add_chain.block_time
    )
    ON CONFLICT DO NOTHING
    RETURNING * INTO made;
    IF made.id IS NULL THEN
        SELECT * INTO made FROM chains c
        WHERE c.name = add_chain.name OR (c.family = add_chain.family AND c.network_id = add_chain.network_id)
        ORDER BY c.name = add_chain.name DESC LIMIT 1;
        RAISE EXCEPTION 'network % is there already as chain %, switched %',
            made.network_id, made.name, CASE WHEN made.is_active THEN 'on' ELSE 'off' END USING
            ERRCODE = 'FP018',
            HINT = 'Two rows of one network would fill and empty the same addresses. See: flagpost chains list.';
    END IF;
    INSERT INTO asset_on_chain (chain_id, symbol, decimals) VALUES (made.id, coin, decimals);
    PERFORM act_for_admin(NULL);
END
$$;
REVOKE ALL ON FUNCTION add_chain(
    text, text, text, text, integer, numeric, numeric, numeric, numeric, numeric, numeric, numeric, text, jsonb, interval, interval,
    boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION add_chain(
    text, text, text, text, integer, numeric, numeric, numeric, numeric, numeric, numeric, numeric, text, jsonb, interval, interval,
    boolean, uuid) IS 'Adds a chain with its native coin; asks no node, as flagpost chains add does';

-- Switches a chain on or off; nodes, where given, replace those of its row. Returns whether it was on before. Switched off, nothing
-- new is read, decided or sent on it, and payments that are out are followed to their end.
CREATE OR REPLACE FUNCTION set_chain_active(chain text, active boolean, nodes jsonb DEFAULT NULL, admin uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found chains := chain_named(chain);
BEGIN
    PERFORM act_for_admin(admin);
    UPDATE chains c SET is_active = active, nodes = coalesce(set_chain_active.nodes, c.nodes) WHERE c.id = found.id;
    PERFORM act_for_admin(NULL);
    RETURN found.is_active;
END
$$;
REVOKE ALL ON FUNCTION set_chain_active(text, boolean, jsonb, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_chain_active(text, boolean, jsonb, uuid) IS 'Switches a chain on or off: SELECT set_chain_active(''bsc'', false)';

-- Writes one rule of a chain: a column, or an entry of `fees` as 'fees.cap'. `value` as the column takes it (raw units, '10 minutes',
-- true), an entry of fees as JSON; NULL takes it back. Raises for a name that is no rule.
CREATE OR REPLACE FUNCTION set_chain_rule(chain text, rule text, value text, admin uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found chains := chain_named(chain);
BEGIN
    PERFORM act_for_admin(admin);
    IF rule LIKE 'fees.%' THEN
        UPDATE chains c
        SET fees = c.fees || jsonb_build_object(substr(rule, length('fees.') + 1), coalesce(value::jsonb, 'null'))
        WHERE c.id = found.id;
    ELSIF rule = ANY (ARRAY[
        'is_active', 'gas_policy', 'gas_flag_below', 'gas_execute_below', 'gas_amount', 'fee_reserve', 'gas_cooldown',
        'gas_max_per_topup', 'gas_max_per_wallet_day', 'gas_max_per_day', 'gas_max_total', 'fee_max', 'fee_rise_max',
        'topup_fee_multiple', 'sync_interval', 'transaction_lifetime', 'clock_ahead', 'replace_after_blocks'
    ]) THEN
        EXECUTE format('UPDATE chains SET %I = $1::%s WHERE id = $2', rule, (
            SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
            WHERE a.attrelid = 'chains'::regclass AND a.attname = rule)) USING value, found.id;
    ELSE
        RAISE EXCEPTION 'chains have no rule "%"', rule USING
            ERRCODE = 'invalid_parameter_value', HINT = format('See: flagpost config show %s.', chain);
    END IF;
    PERFORM act_for_admin(NULL);
END
$$;
REVOKE ALL ON FUNCTION set_chain_rule(text, text, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_chain_rule(text, text, text, uuid) IS
    'Writes one rule of a chain: SELECT set_chain_rule(''tron'', ''gas_amount'', ''5000000'')';

-- Balances decide the flags of their wallet: whenever an amount changed and its flag does not say what the amount says,
-- or a read that was to decide afresh came in (recheck fell), the rule in wallet_flag_rule is applied to the wallet.
--
-- Amounts that stay equal decide nothing, so that a flag set by hand lives until the balance moves; a native balance
-- that moves decides needs_gas alone, so that needs_consolidation set by hand outlives the gas it calls for. A failed
-- read keeps the old amount and the recheck, so it decides nothing either. An amount that moves and agrees with its flag
-- costs one read of the wallet; the rule, which locks the wallet and reads all of its balances, is for the others.
--
-- EXCEPT (or a full join, in other triggers) and no other join: the plan is made for the first statement of a session,
-- and a nested loop planned for one row would take minutes for 100,000. These have no such plan. What EXCEPT leaves
-- goes through arrays to the second query, whose plan is made for their real length, or else reads wallets by key.

CREATE OR REPLACE FUNCTION balances_decide_flags() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved_wallets uuid[];
    moved_assets uuid[];
    moved_amounts text[];
    reread_wallets uuid[];
    reread_assets uuid[];
    by_token uuid[];
    by_coin uuid[];
    coins uuid[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(n.wallet_id), array_agg(n.asset_on_chain_id) INTO reread_wallets, reread_assets
        FROM new_rows n WHERE NOT n.recheck;
    ELSE
        SELECT array_agg(moved.wallet_id), array_agg(moved.asset_on_chain_id), array_agg(moved.on_chain_balance_raw)
        INTO moved_wallets, moved_assets, moved_amounts
        FROM (
            SELECT n.id, n.wallet_id, n.asset_on_chain_id, n.on_chain_balance_raw FROM new_rows n
            EXCEPT
            SELECT o.id, o.wallet_id, o.asset_on_chain_id, o.on_chain_balance_raw FROM old_rows o
        ) moved;
        SELECT array_agg(r.wallet_id), array_agg(r.asset_on_chain_id) INTO reread_wallets, reread_assets
        FROM (
            SELECT o.id, o.wallet_id, o.asset_on_chain_id FROM old_rows o WHERE o.recheck
            EXCEPT
            SELECT n.id, n.wallet_id, n.asset_on_chain_id FROM new_rows n WHERE n.recheck
        ) r;
    END IF;

    IF moved_wallets IS NOT NULL THEN
        SELECT array_agg(w.id) FILTER (WHERE a.contract_address IS NOT NULL),
               array_agg(w.id) FILTER (WHERE a.contract_address IS NULL)
        INTO by_token, by_coin
        FROM unnest(moved_wallets, moved_assets, moved_amounts) AS moved (wallet_id, asset_id, amount)
        JOIN asset_on_chain a ON a.id = moved.asset_id
        JOIN chains c ON c.id = a.chain_id
        JOIN wallets w ON w.id = moved.wallet_id
        WHERE w.derivation_index >= 10
          AND CASE
                  WHEN a.contract_address IS NULL THEN
                      w.needs_gas <> (moved.amount::numeric < c.gas_flag_below)
                  WHEN moved.amount::numeric > a.consolidate_flag_above THEN
                      NOT w.needs_consolidation OR (c.gas_policy = 'on_demand' AND NOT w.needs_gas)
                  ELSE w.needs_consolidation
              END;
    END IF;
    IF reread_wallets IS NOT NULL THEN
        coins := ARRAY(SELECT a.id FROM asset_on_chain a WHERE a.contract_address IS NULL);
        by_token := by_token || ARRAY(
            SELECT r.wallet_id FROM unnest(reread_wallets, reread_assets) AS r (wallet_id, asset_id)
            WHERE r.asset_id <> ALL (coins));
        by_coin := by_coin || ARRAY(
            SELECT r.wallet_id FROM unnest(reread_wallets, reread_assets) AS r (wallet_id, asset_id)
            WHERE r.asset_id = ANY (coins));
    END IF;

    -- All wallets in one pass and one order, before either rule takes its share: two syncs could deadlock otherwise.
    PERFORM FROM wallets w WHERE w.id = ANY (by_token || by_coin) ORDER BY w.id FOR NO KEY UPDATE;
    IF cardinality(by_token) > 0 THEN
        PERFORM evaluate_flags(by_token);
        by_coin := ARRAY(SELECT unnest(by_coin) EXCEPT SELECT unnest(by_token));
    END IF;
    IF cardinality(by_coin) > 0 THEN
        PERFORM evaluate_gas_flags(by_coin);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER balance_flags_insert AFTER INSERT ON wallet_balances
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION balances_decide_flags();

CREATE OR REPLACE TRIGGER balance_flags_update AFTER UPDATE ON wallet_balances
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION balances_decide_flags();

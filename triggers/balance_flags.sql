-- Balances decide the flags of their wallet: whenever an amount changed and its flag does not say what the amount says,
-- or a read that was to decide afresh came in (recheck fell), the rule in wallet_flag_rule is applied to the wallet.
--
-- Amounts that stay equal decide nothing, so that a flag set by hand lives until the balance moves. A failed
-- read keeps the old amount and the recheck, so it decides nothing either. An amount that moves and agrees with its flag
-- costs one look at the wallet; the rule, which locks the wallet and reads all of its balances, is for the others.
--
-- EXCEPT and not a join, here and in the other triggers: the plan is made for the first statement of a session, and
-- a nested loop planned for one row would take minutes for 100,000. EXCEPT has no such plan. What it leaves goes through
-- arrays to the second query, whose plan is made for their real length, or else reads wallets by key.

CREATE OR REPLACE FUNCTION balances_decide_flags() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved_wallets bigint[];
    moved_assets integer[];
    moved_amounts text[];
    reread bigint[] := '{}';
    decided bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        reread := ARRAY(SELECT DISTINCT n.wallet_id FROM new_rows n WHERE NOT n.recheck);
    ELSE
        SELECT array_agg(moved.wallet_id), array_agg(moved.asset_on_chain_id), array_agg(moved.on_chain_balance_raw)
        INTO moved_wallets, moved_assets, moved_amounts
        FROM (
            SELECT n.id, n.wallet_id, n.asset_on_chain_id, n.on_chain_balance_raw FROM new_rows n
            EXCEPT
            SELECT o.id, o.wallet_id, o.asset_on_chain_id, o.on_chain_balance_raw FROM old_rows o
        ) moved;
        reread := ARRAY(
            SELECT r.wallet_id FROM (
                SELECT o.id, o.wallet_id FROM old_rows o WHERE o.recheck
                EXCEPT
                SELECT n.id, n.wallet_id FROM new_rows n WHERE n.recheck
            ) r
        );
    END IF;

    IF moved_wallets IS NOT NULL THEN
        decided := ARRAY(
            SELECT w.id
            FROM unnest(moved_wallets, moved_assets, moved_amounts) AS moved (wallet_id, asset_id, amount)
            JOIN asset_on_chain a ON a.id = moved.asset_id
            JOIN chains c ON c.id = a.chain_id
            JOIN wallets w ON w.id = moved.wallet_id
            WHERE w.derivation_index IS NOT NULL
              AND CASE
                      WHEN a.contract_address IS NULL THEN
                          w.needs_gas <> (moved.amount::numeric < c.gas_flag_below)
                      WHEN moved.amount::numeric > a.consolidate_flag_above THEN
                          NOT w.needs_consolidation OR (c.gas_policy = 'on_demand' AND NOT w.needs_gas)
                      ELSE w.needs_consolidation
                  END
        );
    END IF;
    decided := decided || reread;
    IF cardinality(decided) > 0 THEN
        PERFORM evaluate_flags(decided);
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

-- Balances decide the flags of their wallet: whenever an amount changed, or a read that was to decide afresh came in
-- (recheck fell), the rule in wallet_flag_rule is applied to the wallet.
--
-- Amounts that stay equal decide nothing, so that a flag set by hand lives until the balance moves. A failed
-- read keeps the old amount and the recheck, so it decides nothing either.
--
-- EXCEPT and not a join, here and in the other triggers: the plan is made for the first statement of a session, and
-- a nested loop planned for one row would take minutes for 100,000. EXCEPT has no such plan.

CREATE OR REPLACE FUNCTION balances_decide_flags() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    decided bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        decided := ARRAY(
            SELECT DISTINCT n.wallet_id FROM new_rows n WHERE NOT n.recheck
        );
    ELSE
        decided := ARRAY(
            SELECT moved.wallet_id FROM (
                SELECT n.id, n.wallet_id, n.on_chain_balance_raw FROM new_rows n
                EXCEPT
                SELECT o.id, o.wallet_id, o.on_chain_balance_raw FROM old_rows o
            ) moved
            UNION
            SELECT reread.wallet_id FROM (
                SELECT o.id, o.wallet_id FROM old_rows o WHERE o.recheck
                EXCEPT
                SELECT n.id, n.wallet_id FROM new_rows n WHERE n.recheck
            ) reread
        );
    END IF;
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

-- A changed threshold or policy takes effect at once: all wallets of the chain whose flags the new rule would set
-- otherwise get them in the same transaction.
--
-- Waits for balance writers that are judging by the old thresholds, and makes later ones wait (lock_thresholds, which
-- evaluate_flags takes shared), so that no wallet is judged by the old rule after the new one has been applied to it.

CREATE OR REPLACE FUNCTION apply_changed_thresholds() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    changed integer[];
BEGIN
    IF TG_TABLE_NAME = 'chains' THEN
        changed := ARRAY(
            SELECT n.id FROM (
                SELECT id, gas_policy, gas_flag_below FROM new_rows
                EXCEPT
                SELECT id, gas_policy, gas_flag_below FROM old_rows
            ) n
        );
    ELSE
        changed := ARRAY(
            SELECT DISTINCT n.chain_id FROM (
                SELECT id, chain_id, consolidate_flag_above, is_active FROM new_rows
                EXCEPT
                SELECT id, chain_id, consolidate_flag_above, is_active FROM old_rows
            ) n
        );
    END IF;
    IF cardinality(changed) = 0 THEN
        RETURN NULL;
    END IF;

    PERFORM lock_thresholds(true);
    PERFORM evaluate_flags(ARRAY(
        SELECT w.id
        FROM wallet_flag_rule rule
        JOIN wallets w ON w.id = rule.wallet_id
        WHERE rule.chain_id = ANY (changed)
          AND (w.needs_gas <> rule.needs_gas OR w.needs_consolidation <> rule.needs_consolidation)
    ));
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER thresholds AFTER UPDATE ON chains
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION apply_changed_thresholds();

CREATE OR REPLACE TRIGGER thresholds AFTER UPDATE ON asset_on_chain
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION apply_changed_thresholds();

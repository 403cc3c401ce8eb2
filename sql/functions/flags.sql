-- What the flags of a wallet should be by its balances, and setting them so.
--
-- Guarantees: nothing but the tables decides (thresholds and policy of the chain, thresholds of its active
-- assets); what is not known leaves the flag as it is; a wallet that is not ours (no derivation_index) is left
-- alone; only wallets whose flags differ are written.

-- Sets the flags of these wallets by the rule; returns how many changed.
--
-- Locks before it reads, so that two transactions that change two balances of one wallet at the same time cannot
-- both judge by half of the picture: the second waits here, and its next statement sees what the first committed.
-- lock_thresholds does the same against a change of thresholds (triggers/thresholds.sql).
CREATE OR REPLACE FUNCTION evaluate_flags(wallet_ids uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    changed integer;
BEGIN
    PERFORM lock_thresholds(false);
    PERFORM FROM wallets w WHERE w.id = ANY (wallet_ids) ORDER BY w.id FOR NO KEY UPDATE;

    UPDATE wallets w
    SET needs_gas = coalesce(rule.needs_gas, w.needs_gas),
        needs_consolidation = coalesce(rule.needs_consolidation, w.needs_consolidation),
        updated_at = now()
    FROM wallet_flag_rule rule
    WHERE rule.wallet_id = ANY (wallet_ids)
      AND w.id = rule.wallet_id
      AND (w.needs_gas <> rule.needs_gas OR w.needs_consolidation <> rule.needs_consolidation);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
REVOKE ALL ON FUNCTION evaluate_flags(uuid[]) FROM PUBLIC;

-- Sets needs_gas alone by the rule, where only the native balance is news: a flag for consolidation that somebody set
-- by hand outlives the top-up it had to wait for. Locks as evaluate_flags does; returns how many changed.
CREATE OR REPLACE FUNCTION evaluate_gas_flags(wallet_ids uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    changed integer;
BEGIN
    PERFORM lock_thresholds(false);
    PERFORM FROM wallets w WHERE w.id = ANY (wallet_ids) ORDER BY w.id FOR NO KEY UPDATE;

    UPDATE wallets w
    SET needs_gas = rule.needs_gas, updated_at = now()
    FROM wallet_flag_rule rule
    WHERE rule.wallet_id = ANY (wallet_ids)
      AND w.id = rule.wallet_id
      AND w.needs_gas <> rule.needs_gas;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
REVOKE ALL ON FUNCTION evaluate_gas_flags(uuid[]) FROM PUBLIC;

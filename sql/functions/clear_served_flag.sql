-- Lowers the flag that a job served without a payment ("nothing to do"), unless something changed
-- while the job ran. Returns whether the flag fell.
--
-- Guarantees: a balance that changes at this very moment is not lost. The balances are locked first (in
-- the order the sync takes them: balances, then wallet), so a change is either committed and seen here, or
-- waits and then finds the flag already down and raises it again. SECURITY DEFINER, because the
-- executors may not lock balances.
CREATE OR REPLACE FUNCTION clear_served_flag(p_wallet_id bigint, p_job_type text, p_started_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM FROM wallet_balances WHERE wallet_id = p_wallet_id ORDER BY id FOR SHARE;
    IF EXISTS (SELECT FROM wallet_balances WHERE wallet_id = p_wallet_id AND changed_at > p_started_at) THEN
        RETURN false;
    END IF;
    UPDATE wallets SET
        needs_gas = needs_gas AND p_job_type <> 'gas-topup',
        needs_consolidation = needs_consolidation AND p_job_type <> 'consolidation'
    WHERE id = p_wallet_id
      AND CASE p_job_type
              WHEN 'gas-topup' THEN needs_gas AND coalesce(needs_gas_since <= p_started_at, true)
              WHEN 'consolidation' THEN needs_consolidation AND coalesce(consolidation_ready_since <= p_started_at, true)
              ELSE false END;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION clear_served_flag(bigint, text, timestamptz) FROM PUBLIC;

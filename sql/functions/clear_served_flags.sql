-- Lowers the flags that jobs served without a payment ("nothing to do"), unless something changed while a job ran.
-- One element an attempt: its wallet, its type, and when it started. Returns whether each flag fell. A change that lies ahead
-- was written by a wrong clock: taken for one that came in between, it would keep the flag up, and its job going, until then.
--
-- Guarantees: a balance that changes at this very moment is not lost. All balances are locked first, then all
-- wallets, each in the order of id, as the sync and settlement do: so a change is either committed and seen here,
-- or waits and then finds the flag already down and raises it again, and nobody deadlocks.
-- Where the balances we know still call for the work, one of two nodes is behind: the flag falls, but the balances are
-- read again at once and decide afresh, so that no wallet with tokens is left without flag and job. For gas
-- they call for work below gas_execute_below: between the two thresholds there is truly nothing to do. On demand they never
-- do, because what a transfer costs is not known here: the wallet would be read and asked about without end, as long as
-- its transfer is under way. The flag for consolidation is still up, and its job asks for gas where there is too little.
-- SECURITY DEFINER, because the executors may not lock balances.
CREATE OR REPLACE FUNCTION clear_served_flags(wallet_ids uuid[], job_types text[], started_ats timestamptz[])
RETURNS TABLE (wallet_id uuid, job_type text, cleared boolean)
LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    standing uuid[];
    lowered bigint[];
    lowered_gas uuid[];
    lowered_consolidation uuid[];
    unread uuid[];
BEGIN
    -- Where no flag is up there is nothing to lower, and so nothing to lock: a job that somebody typed, a flag that was
    -- taken back. One that rises from here on stays up, and is followed by a job of its own.
    standing := ARRAY(SELECT w.id FROM wallets w WHERE w.id = ANY (wallet_ids) AND (w.needs_gas OR w.needs_consolidation));
    IF standing = '{}' THEN
        RETURN QUERY SELECT served.wallet_id, served.job_type, false FROM unnest(wallet_ids, job_types) AS served (wallet_id, job_type);
        RETURN;
    END IF;
    PERFORM FROM wallet_balances b WHERE b.wallet_id = ANY (standing) ORDER BY b.id FOR NO KEY UPDATE;
    PERFORM FROM wallets w WHERE w.id = ANY (standing) ORDER BY w.id FOR NO KEY UPDATE;

    lowered := ARRAY(
        SELECT served.place
        FROM unnest(wallet_ids, job_types, started_ats) WITH ORDINALITY AS served (wallet_id, job_type, started_at, place)
        JOIN wallets w ON w.id = served.wallet_id
        WHERE w.id = ANY (standing)
          AND CASE served.job_type
                  WHEN 'gas-topup' THEN
                      w.needs_gas AND coalesce(w.needs_gas_since <= served.started_at, true)
                  WHEN 'consolidation' THEN
                      w.needs_consolidation AND coalesce(w.consolidation_ready_since <= served.started_at, true)
                  ELSE false END
          AND NOT EXISTS (
              SELECT FROM wallet_balances b
              WHERE b.wallet_id = w.id AND b.changed_at > served.started_at AND b.changed_at <= clock_timestamp())
    );
    lowered_gas := ARRAY(SELECT wallet_ids[l.place] FROM unnest(lowered) AS l (place) WHERE job_types[l.place] = 'gas-topup');
    lowered_consolidation := ARRAY(
        SELECT wallet_ids[l.place] FROM unnest(lowered) AS l (place) WHERE job_types[l.place] = 'consolidation');
    -- By arrays and not by a join: the view is grouped, and joined it would judge every wallet there is.
    unread := ARRAY(
        SELECT rule.wallet_id FROM wallet_flag_rule rule
        WHERE rule.wallet_id = ANY (lowered_consolidation) AND rule.needs_consolidation
        UNION
        SELECT rule.wallet_id FROM wallet_flag_rule rule
        WHERE rule.wallet_id = ANY (lowered_gas) AND rule.needs_gas
          AND EXISTS (
              SELECT FROM wallet_balances b
              JOIN asset_on_chain a ON a.id = b.asset_on_chain_id AND a.contract_address IS NULL
              JOIN chains c ON c.id = a.chain_id AND c.gas_policy = 'threshold'
              WHERE b.wallet_id = rule.wallet_id AND b.on_chain_balance_raw::numeric < c.gas_execute_below)
    );

    PERFORM make_balances_due(unread) WHERE cardinality(unread) > 0;
    UPDATE wallets w SET
        needs_gas = w.needs_gas AND w.id <> ALL (lowered_gas),
        needs_consolidation = w.needs_consolidation AND w.id <> ALL (lowered_consolidation),
        updated_at = now()
    WHERE w.id = ANY (lowered_gas || lowered_consolidation);

    RETURN QUERY
    SELECT served.wallet_id, served.job_type, served.place = ANY (lowered)
    FROM unnest(wallet_ids, job_types) WITH ORDINALITY AS served (wallet_id, job_type, place);
END
$$;

REVOKE ALL ON FUNCTION clear_served_flags(uuid[], text[], timestamptz[]) FROM PUBLIC;

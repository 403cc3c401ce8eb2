-- A settled payment has served its flag and moved balances: final gas lowers needs_gas, a final consolidation
-- needs_consolidation, once all tokens that its job moves are there; after either, and after a reverted one, the
-- balances that it moved are read again at once and decide the flags afresh, so that a flag lowered too early rises
-- (and notifies) again. Gas moves the native coin alone. What a node that is behind read before that block decides nothing.

CREATE OR REPLACE FUNCTION settle_flags() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    gas uuid[];
    consolidated uuid[];
    moved_coin uuid[];
    moved_all uuid[];
    settled bigint[];
BEGIN
    SELECT array_agg(s.wallet_id) FILTER (WHERE s.state = 'final' AND s.kind = 'gas'),
           array_agg(s.wallet_id) FILTER (WHERE s.state = 'final' AND s.kind = 'consolidation' AND NOT EXISTS (
               -- The flag is of the wallet and not of one token: the last of a job's payments lowers it, if all went well.
               SELECT FROM job_payments(s.job_id) p WHERE p.state <> 'final')),
           array_agg(DISTINCT s.wallet_id) FILTER (WHERE s.kind = 'gas'),
           array_agg(DISTINCT s.wallet_id) FILTER (WHERE s.kind NOT IN ('gas', 'gap')),
           array_agg(s.id)
    INTO gas, consolidated, moved_coin, moved_all, settled
    FROM (
        SELECT n.id, n.wallet_id, n.job_id, n.kind, n.state FROM new_rows n WHERE n.state IN ('final', 'reverted')
        EXCEPT
        SELECT o.id, o.wallet_id, o.job_id, o.kind, o.state FROM old_rows o WHERE o.state IN ('final', 'reverted')
    ) s;
    IF moved_coin IS NULL AND moved_all IS NULL THEN
        RETURN NULL;
    END IF;

    -- Balances before wallets, as the sync's writes do (its trigger locks wallets second), or the two could deadlock.
    PERFORM make_balances_due_after_payments(coalesce(moved_all, '{}'), coalesce(moved_coin, '{}'), settled);
    PERFORM FROM wallets w WHERE w.id = ANY (gas || consolidated) ORDER BY w.id FOR NO KEY UPDATE;
    UPDATE wallets w SET
        needs_gas = w.needs_gas AND NOT (w.id = ANY (coalesce(gas, '{}'))),
        needs_consolidation = w.needs_consolidation AND NOT (w.id = ANY (coalesce(consolidated, '{}')))
    WHERE (w.id = ANY (gas) AND w.needs_gas) OR (w.id = ANY (consolidated) AND w.needs_consolidation);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER transfers_settled AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION settle_flags();

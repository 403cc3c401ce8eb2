-- Asking the sync to read balances again.
--
-- Guarantees: the next read decides the flags even if it is equal; a read that is under way now, and may be
-- older than the reason for asking, can no longer be stored (its lock is taken away).

-- Makes due at once all balances of the wallets in `all_of`, and of those in `coin_of` only the native coin's, which is
-- all that a gas top-up moves. Returns how many balances. Rings balance_due.
-- `settled` are the payments that moved them: a read of a block before theirs is older than what is known (a node that is
-- behind), and nothing is decided from one.
-- Locks in the order of id, as everybody who writes several balances should.
CREATE OR REPLACE FUNCTION make_balances_due_after_payments(all_of uuid[], coin_of uuid[], settled bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    coins uuid[] := ARRAY(SELECT a.id FROM asset_on_chain a WHERE a.contract_address IS NULL);
    balance_ids uuid[] := ARRAY(
        SELECT b.id FROM wallet_balances b
        WHERE b.wallet_id = ANY (all_of || coin_of)
          AND (b.wallet_id = ANY (all_of) OR b.asset_on_chain_id = ANY (coins))
        ORDER BY b.id FOR NO KEY UPDATE
    );
    ids uuid[];
    blocks bigint[];
BEGIN
    SELECT array_agg(b.id), array_agg(greatest(b.block_number, landed.block_number)) INTO ids, blocks
    FROM wallet_balances b
    LEFT JOIN (
        SELECT t.wallet_id, max(a.block_number) AS block_number
        FROM transfers t
        JOIN chain_transactions a ON a.bundle_id = t.bundle_id AND a.state IN ('final', 'reverted')
        WHERE t.id = ANY (settled)
        GROUP BY t.wallet_id
    ) landed ON landed.wallet_id = b.wallet_id
    WHERE b.id = ANY (balance_ids);

    UPDATE wallet_balances b
    SET recheck = true,
        block_number = due.block_number,
        next_check_at = least(b.next_check_at, now()),
        processing_status = 'idle',
        locked_by = NULL,
        locked_until = NULL
    FROM unnest(ids, blocks) AS due (id, block_number)
    WHERE b.id = due.id;
    RETURN cardinality(balance_ids);
END
$$;
REVOKE ALL ON FUNCTION make_balances_due_after_payments(uuid[], uuid[], bigint[]) FROM PUBLIC;

-- Makes all balances of these wallets due at once; returns how many balances. Rings balance_due.
CREATE OR REPLACE FUNCTION make_balances_due(wallet_ids uuid[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT make_balances_due_after_payments(wallet_ids, '{}', '{}') $$;
REVOKE ALL ON FUNCTION make_balances_due(uuid[]) FROM PUBLIC;

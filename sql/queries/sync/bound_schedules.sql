-- Makes due at once the balances of a chain that are scheduled for later than any rule schedules them: the chain's interval, an hour
-- after errors, and a margin of ten minutes; and unlocks those that are locked for longer than any sync locks them (an hour at the
-- most). The clock was wrong when they were written, or the interval has been shortened since. How many there were.
--
-- Guarantees: a few probes of wallet_balances_due where all is well; at most %(rows)s balances of an asset each time; rows that
-- somebody holds are left for the next time. Whoever reads one of them just now finds it taken over, and stores nothing.
UPDATE wallet_balances SET
    next_check_at = now(), processing_status = 'idle', locked_by = NULL, locked_until = NULL, updated_at = now()
WHERE id = ANY (ARRAY(
    SELECT b.id FROM wallet_balances b
    WHERE b.id = ANY (ARRAY(
        SELECT beyond.id
        FROM asset_on_chain a
        JOIN chains c ON c.id = a.chain_id
        CROSS JOIN LATERAL (
            SELECT far.id FROM wallet_balances far
            WHERE far.asset_on_chain_id = a.id
              AND far.next_check_at > now() + greatest(c.sync_interval, interval '1 hour') + interval '10 minutes'
            ORDER BY far.next_check_at
            LIMIT %(rows)s
        ) AS beyond
        WHERE a.chain_id = %(chain_id)s AND a.is_active AND c.is_active))
    ORDER BY b.id
    FOR NO KEY UPDATE SKIP LOCKED))

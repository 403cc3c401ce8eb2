-- Locks up to %(batch)s due balances of one chain for one reading, from among the longest due.
--
-- Guarantees: a balance is read by one sync at a time (SKIP LOCKED, locked_by unique per claim); the lock
-- expires by itself, and the balance is then due again, because next_check_at moves to that moment.
-- Switched-off chains and assets are left alone.
--
-- Chosen without a lock, then locked in the order of id like everywhere else: SKIP LOCKED waits after all where a row
-- was updated meanwhile and its new version is locked, and whoever waits must not hold a later row. Four batches are
-- chosen, so that several syncs do not fight for the same one.
--
-- The second check of what is due is one expression on purpose: as a condition on next_check_at it is planned as a scan of
-- all that is due, each row compared with each chosen one, whenever the statistics are from a time when nothing was due.
WITH claimed AS (
    UPDATE wallet_balances SET
        processing_status = 'processing',
        locked_by = %(lock)s,
        locked_until = now() + make_interval(secs => %(lock_seconds)s),
        next_check_at = now() + make_interval(secs => %(lock_seconds)s),
        updated_at = now()
    WHERE id = ANY (ARRAY(
        SELECT b.id FROM wallet_balances b
        WHERE b.id = ANY (ARRAY(
            SELECT due.id
            FROM asset_on_chain a
            JOIN chains c ON c.id = a.chain_id
            CROSS JOIN LATERAL (
                SELECT b.id, b.wallet_id, b.next_check_at
                FROM wallet_balances b
                WHERE b.asset_on_chain_id = a.id AND b.next_check_at <= now()
                  AND (b.processing_status = 'idle' OR b.locked_until <= now())
                ORDER BY b.next_check_at
                LIMIT 4 * %(batch)s
            ) AS due
            WHERE a.chain_id = %(chain_id)s AND a.is_active AND c.is_active
            ORDER BY due.next_check_at, due.wallet_id
            LIMIT 4 * %(batch)s))
          AND CASE WHEN b.processing_status = 'idle' THEN b.next_check_at
                   ELSE greatest(b.next_check_at, b.locked_until) END <= now()
        ORDER BY b.id
        LIMIT %(batch)s
        FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING id, wallet_id, asset_on_chain_id, on_chain_balance_raw, last_error
)
SELECT claimed.id, claimed.wallet_id, claimed.on_chain_balance_raw AS known_raw, claimed.last_error AS known_error,
       w.address, a.symbol, a.decimals, a.contract_address
FROM claimed
JOIN wallets w ON w.id = claimed.wallet_id
JOIN asset_on_chain a ON a.id = claimed.asset_on_chain_id
ORDER BY claimed.id

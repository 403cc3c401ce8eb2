-- The balances of a page, at most %(limit)s: what is known of each, and whether it is written even if its amount is the same (it
-- is to decide the flags, it could not be read the last time, its lock has expired).
--
-- The address by a query of its own: as a join it is planned as a scan of all wallets, as long as there are some ten thousand.
--
-- Guarantees: nothing is locked and nothing written. Balances that are due by themselves or locked are not among them.
SELECT b.id::text, (SELECT w.address FROM wallets w WHERE w.id = b.wallet_id) AS address,
       b.on_chain_balance_raw AS known_raw, b.last_error AS known_error,
       b.recheck OR b.last_error IS NOT NULL OR b.processing_status <> 'idle' AS is_written
FROM wallet_balances b
WHERE b.asset_on_chain_id = %(asset_id)s AND b.next_check_at IS NULL AND b.id > %(after_id)s AND b.id <= %(last_id)s
  AND (b.processing_status = 'idle' OR b.locked_until <= now())
ORDER BY b.id
LIMIT %(limit)s

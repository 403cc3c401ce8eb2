-- The balances as they are known now: a row a balance, with what the table alone does not show, because balances that do not
-- change are not written: when each was last read, how often, and at which block.
--
-- Guarantees: last_checked is the last time that the balance was compared with the chain, or, of one that is due by itself just
-- now (is_paged false), a time at or before it; a balance of a page whose last reading failed as a whole shows why. What a clock
-- that was ahead wrote into a row holds only until its page is read again.
CREATE OR REPLACE VIEW balance_state WITH (security_invoker = true) AS
SELECT b.id,
       b.wallet_id,
       b.asset_on_chain_id,
       b.on_chain_balance_raw,
       b.on_chain_balance_human,
       b.processing_status,
       b.locked_until,
       b.locked_by,
       coalesce(b.next_check_at, page.next_check_at) AS next_check_at,
       b.next_check_at IS NULL AS is_paged,
       b.recheck,
       b.changed_at,
       greatest(b.block_number, page.block_number) AS block_number,
       CASE WHEN b.next_check_at IS NULL
           THEN coalesce(greatest(own.last_checked, page.last_checked), b.last_checked) ELSE b.last_checked END AS last_checked,
       CASE WHEN b.next_check_at IS NULL
           THEN coalesce(greatest(own.last_processed_at, page.last_checked), b.last_processed_at) ELSE b.last_processed_at END
           AS last_processed_at,
       CASE WHEN b.next_check_at IS NULL THEN coalesce(b.last_error, page.last_error) ELSE b.last_error END AS last_error,
       b.last_error_at,
       b.sync_count + CASE WHEN b.next_check_at IS NULL
           THEN (SELECT count(*) FROM unnest(page.read_at) AS at WHERE at > b.last_checked) ELSE 0 END AS sync_count,
       b.error_count,
       b.created_at,
       b.updated_at
FROM wallet_balances b
LEFT JOIN LATERAL (
    SELECT p.* FROM sync_pages p
    WHERE p.asset_on_chain_id = b.asset_on_chain_id AND p.last_id >= b.id
    ORDER BY p.last_id LIMIT 1
) AS page ON true
CROSS JOIN LATERAL (
    SELECT CASE WHEN b.last_checked <= statement_timestamp() THEN b.last_checked END AS last_checked,
           CASE WHEN b.last_processed_at <= statement_timestamp() THEN b.last_processed_at END AS last_processed_at
) AS own;

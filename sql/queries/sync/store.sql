-- Writes what one claim has read, and unlocks it. Returns the balances that were still locked by that
-- claim: the others were taken over after the lock expired, or unlocked by hand, and are not touched.
--
-- Guarantees: a balance never goes back to an older block; a failed read leaves the amount as it was and
-- counts an error; a balance that was made due while it was being read stays due. What the amounts mean
-- is not decided here, but by the triggers.
--
-- The arrays run in parallel, one element a balance: raw NULL where it could not be read, error says why.
-- Waits after an error double from the chain's interval up to an hour. A balance that was read is read with its page from now on
-- (next_check_at NULL); what the page has read of it is counted here, and no block older than the page's is stored.
--
-- The lock is compared as one more array on purpose: as a condition on b alone the plan expects one row, and joins
-- the arrays to a thousand by comparing each with each (145 ms of 158).
--
-- The rows are locked in the order of id before any is written, as settlement does, or the two could deadlock;
-- count(*), because EXISTS would stop at the first.
WITH locked AS MATERIALIZED (
    SELECT b.id FROM wallet_balances b WHERE b.id = ANY (%(ids)s::uuid[]) ORDER BY b.id FOR NO KEY UPDATE
)
UPDATE wallet_balances b SET
    (on_chain_balance_raw, block_number, recheck, next_check_at, sync_count) = (
        SELECT CASE WHEN r.block_number >= known.block_number AND r.error IS NULL THEN r.raw ELSE b.on_chain_balance_raw END,
               CASE WHEN r.error IS NULL THEN greatest(r.block_number, nullif(known.block_number, 0)) ELSE b.block_number END,
               b.recheck AND (r.error IS NOT NULL OR r.block_number < known.block_number),
               CASE WHEN b.next_check_at < b.locked_until THEN b.next_check_at
                    WHEN r.error IS NULL AND r.block_number < known.block_number THEN now() + c.block_time
                    WHEN r.error IS NULL THEN NULL
                    WHEN b.last_error IS NULL THEN now() + c.sync_interval
                    ELSE now() + least(2 * greatest(c.sync_interval, now() - b.last_error_at),
                                       greatest(c.sync_interval, interval '1 hour')) END,
               b.sync_count + known.reads + (r.error IS NULL)::integer
        FROM (
            SELECT coalesce(greatest(b.block_number, page.block_number), 0) AS block_number,
                   (SELECT count(*) FROM unnest(page.read_at) AS at WHERE at > b.last_checked) AS reads
            FROM (VALUES (true)) AS always
            LEFT JOIN LATERAL (
                SELECT p.block_number, p.read_at FROM sync_pages p
                WHERE p.asset_on_chain_id = b.asset_on_chain_id AND p.last_id >= b.id
                ORDER BY p.last_id LIMIT 1
            ) AS page ON true
        ) AS known
    ),
    processing_status = 'idle',
    locked_by = NULL,
    locked_until = NULL,
    last_checked = now(),
    last_processed_at = CASE WHEN r.error IS NULL THEN now() ELSE b.last_processed_at END,
    last_error = r.error,
    last_error_at = CASE WHEN r.error IS NULL THEN b.last_error_at ELSE now() END,
    error_count = b.error_count + (r.error IS NOT NULL)::integer,
    updated_at = now()
FROM unnest(%(ids)s::uuid[], %(raws)s::text[], %(blocks)s::bigint[], %(errors)s::text[],
            array_fill(%(lock)s::text, ARRAY[cardinality(%(ids)s::uuid[])])) AS r (id, raw, block_number, error, lock),
     asset_on_chain a JOIN chains c ON c.id = a.chain_id
WHERE b.id = r.id AND b.locked_by = r.lock AND a.id = b.asset_on_chain_id
  AND (SELECT count(*) FROM locked) > 0
RETURNING b.id, CASE WHEN r.error IS NOT NULL THEN 'failed'
                     WHEN r.block_number < b.block_number THEN 'older'
                     ELSE 'read' END AS outcome,
          now() AS stored_at

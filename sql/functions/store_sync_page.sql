-- Writes what one reading of a page has found, and unlocks it.
--
-- Guarantees: as sql/queries/sync/store.sql for each balance that is written, and: where the lock was lost, or the node is behind
-- what the page has seen, nothing is written. What neither changed nor failed nor waited to be decided is not written at all, or,
-- with `p_record`, brought up to date. What somebody holds, has made due, locked or changed meanwhile is left to the next
-- reading.
--
-- The arrays run in parallel, one element a balance that is to be written: `p_known` is the amount it was selected with, raw NULL
-- where it could not be read, error says why. `p_up_to` is the last balance that was read: where that is not the end, the rest is
-- due at once. The blocks are the oldest and the newest that anything was read at.
--
-- outcome: 'read', 'lost' (another sync has the page), 'older' (a node is behind: nothing stored). written_*: the balances that
-- were written.
CREATE OR REPLACE FUNCTION store_sync_page(
    p_lock text, p_asset uuid, p_after uuid, p_last uuid, p_up_to uuid, p_balances integer, p_first_block bigint,
    p_last_block bigint, p_record boolean, p_ids uuid[], p_known text[], p_raws text[], p_blocks bigint[], p_errors text[],
    OUT outcome text, OUT stored_at timestamptz, OUT written_ids uuid[], OUT written_wallets uuid[]
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    held record;
    chain chains;
    recorded boolean := false;
BEGIN
    PERFORM FROM sync_pages p
    WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_after AND p.last_id <= p_last
    ORDER BY p.last_id FOR NO KEY UPDATE;
    SELECT bool_and(p.locked_by IS NOT DISTINCT FROM p_lock) AS by_us, max(p.block_number) AS block_number,
           min(p.locked_at) AS since
    INTO held
    FROM sync_pages p WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_after AND p.last_id <= p_last;
    SELECT c.* INTO chain FROM chains c JOIN asset_on_chain a ON a.chain_id = c.id WHERE a.id = p_asset;
    outcome := CASE WHEN held.by_us IS NOT TRUE THEN 'lost'
                    WHEN p_first_block < held.block_number THEN 'older'
                    ELSE 'read' END;
    stored_at := now();
    IF outcome = 'lost' THEN
        RETURN;
    END IF;
    IF outcome = 'older' THEN
        PERFORM unlock_sync_pages(p_lock, p_asset, p_after, p_last, extract(epoch FROM chain.block_time)::double precision, NULL);
        RETURN;
    END IF;

    IF cardinality(p_ids) = 0 AND NOT p_record THEN
        -- Nothing but that it was read, which a crash may forget: then it is read again.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF cardinality(p_ids) > 0 THEN
        SELECT array_agg(w.id), array_agg(w.wallet_id) INTO written_ids, written_wallets
        FROM write_read_balances(p_asset, p_ids, p_known, p_raws, p_blocks, p_errors, chain.sync_interval) w;
    END IF;
    IF p_record THEN
        recorded := record_unchanged_balances(p_asset, p_after, p_up_to, held.since, p_first_block);
    END IF;
    PERFORM end_sync_pages(
        p_asset, p_after, p_last, p_up_to, p_balances, p_last_block, recorded, held.since, chain.sync_interval);
END
$$;
REVOKE ALL ON FUNCTION store_sync_page(
    text, uuid, uuid, uuid, uuid, integer, bigint, bigint, boolean, uuid[], text[], text[], bigint[], text[]
) FROM PUBLIC;

-- Writes balances of a page; returns those that it wrote.
CREATE OR REPLACE FUNCTION write_read_balances(
    p_asset uuid, p_ids uuid[], p_known text[], p_raws text[], p_blocks bigint[], p_errors text[], p_interval interval
) RETURNS TABLE (id uuid, wallet_id uuid)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    free uuid[] := ARRAY(
        SELECT b.id FROM wallet_balances b
        WHERE b.id = ANY (p_ids) AND b.asset_on_chain_id = p_asset AND b.next_check_at IS NULL
          AND (b.processing_status = 'idle' OR b.locked_until <= now())
        ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED);
BEGIN
    RETURN QUERY
    UPDATE wallet_balances b SET
        on_chain_balance_raw = coalesce(r.raw, b.on_chain_balance_raw),
        block_number = coalesce(r.block_number, b.block_number),
        recheck = b.recheck AND r.error IS NOT NULL,
        processing_status = 'idle',
        locked_by = NULL,
        locked_until = NULL,
        next_check_at = CASE
            WHEN r.error IS NULL THEN NULL
            WHEN b.last_error IS NULL THEN now() + p_interval
            ELSE now() + least(2 * greatest(p_interval, now() - b.last_error_at), greatest(p_interval, interval '1 hour')) END,
        last_checked = now(),
        last_processed_at = CASE WHEN r.error IS NULL THEN now() ELSE b.last_processed_at END,
        last_error = r.error,
        last_error_at = CASE WHEN r.error IS NULL THEN b.last_error_at ELSE now() END,
        sync_count = b.sync_count + (r.error IS NULL)::integer
            + (SELECT count(*) FROM unnest(page.read_at) AS at WHERE at > b.last_checked),
        error_count = b.error_count + (r.error IS NOT NULL)::integer,
        updated_at = now()
    FROM unnest(p_ids, p_known, p_raws, p_blocks, p_errors) AS r (id, known, raw, block_number, error)
    CROSS JOIN LATERAL (
        SELECT p.read_at FROM sync_pages p
        WHERE p.asset_on_chain_id = p_asset AND p.last_id >= r.id
        ORDER BY p.last_id LIMIT 1
    ) AS page
    WHERE b.id = r.id AND r.id = ANY (free) AND b.on_chain_balance_raw = r.known
      AND (r.error IS NOT NULL OR r.block_number >= coalesce(b.block_number, 0))
    RETURNING b.id, b.wallet_id;
END
$$;
REVOKE ALL ON FUNCTION write_read_balances(uuid, uuid[], text[], text[], bigint[], text[], interval) FROM PUBLIC;

-- Brings last_checked and sync_count up to date in the rows that were read since `p_since`, when the page was claimed, and did
-- not change. Whether in all of them: those that somebody holds are left, and the page goes on counting for them.
CREATE OR REPLACE FUNCTION record_unchanged_balances(
    p_asset uuid, p_after uuid, p_up_to uuid, p_since timestamptz, p_block bigint
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    unchanged uuid[] := ARRAY(
        SELECT b.id FROM wallet_balances b
        WHERE b.asset_on_chain_id = p_asset AND b.next_check_at IS NULL AND b.id > p_after AND b.id <= p_up_to
          AND b.last_checked < p_since AND NOT b.recheck AND b.last_error IS NULL
        ORDER BY b.id);
    free uuid[] := ARRAY(
        SELECT b.id FROM wallet_balances b
        WHERE b.id = ANY (unchanged) AND b.next_check_at IS NULL
        ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED);
BEGIN
    UPDATE wallet_balances b SET
        last_checked = now(),
        last_processed_at = now(),
        block_number = greatest(b.block_number, p_block),
        sync_count = b.sync_count + 1 + (SELECT count(*) FROM unnest(page.read_at) AS at WHERE at > b.last_checked),
        updated_at = now()
    FROM unnest(free) AS r (id)
    CROSS JOIN LATERAL (
        SELECT p.read_at FROM sync_pages p
        WHERE p.asset_on_chain_id = p_asset AND p.last_id >= r.id
        ORDER BY p.last_id LIMIT 1
    ) AS page
    WHERE b.id = r.id;
    RETURN cardinality(free) = cardinality(unchanged);
END
$$;
REVOKE ALL ON FUNCTION record_unchanged_balances(uuid, uuid, uuid, timestamptz, bigint) FROM PUBLIC;

-- Unlocks pages that were claimed at `p_since` and read up to a balance. What is behind it becomes a page that is due now; what
-- was recorded and read together becomes one page.
CREATE OR REPLACE FUNCTION end_sync_pages(
    p_asset uuid, p_after uuid, p_last uuid, p_up_to uuid, p_balances integer, p_block bigint, p_recorded boolean,
    p_since timestamptz, p_interval interval
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF p_up_to < p_last THEN
        INSERT INTO sync_pages (asset_on_chain_id, last_id, block_number, last_checked, read_at, recorded_at)
        SELECT p.asset_on_chain_id, p_up_to, p.block_number, p.last_checked, p.read_at, p.recorded_at
        FROM sync_pages p WHERE p.asset_on_chain_id = p_asset AND p.last_id >= p_up_to
        ORDER BY p.last_id LIMIT 1
        ON CONFLICT DO NOTHING;
        UPDATE sync_pages p SET
            locked_by = NULL, locked_at = NULL, locked_until = NULL, balances = NULL,
            next_check_at = least(p.next_check_at, now())
        WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_up_to AND p.last_id <= p_last;
    END IF;
    IF p_recorded THEN
        DELETE FROM sync_pages p WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_after AND p.last_id < p_up_to;
    END IF;
    UPDATE sync_pages p SET
        locked_by = NULL,
        locked_at = NULL,
        locked_until = NULL,
        next_check_at = CASE WHEN p.next_check_at < p.locked_until THEN p.next_check_at ELSE now() + p_interval END,
        -- Of pages that could not become one, each is counted again.
        balances = CASE WHEN p_recorded OR p.last_id = p_up_to AND NOT EXISTS (
            SELECT FROM sync_pages other
            WHERE other.asset_on_chain_id = p_asset AND other.last_id > p_after AND other.last_id < p_up_to) THEN p_balances END,
        block_number = greatest(p.block_number, p_block),
        last_checked = p_since,
        read_at = CASE WHEN p_recorded THEN '{}' ELSE p.read_at[greatest(1, cardinality(p.read_at) - 998):] || p_since END,
        recorded_at = CASE WHEN p_recorded THEN now() ELSE p.recorded_at END,
        last_error = NULL
    WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_after AND p.last_id <= p_up_to;
END
$$;
REVOKE ALL ON FUNCTION end_sync_pages(uuid, uuid, uuid, uuid, integer, bigint, boolean, timestamptz, interval) FROM PUBLIC;

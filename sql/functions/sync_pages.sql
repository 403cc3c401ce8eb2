-- Pages of balances: how the sync divides its work, and the only way in which it writes down how far it is.
--
-- Guarantees: a page is held by one reading at a time, until locked_until; then it is handed out again, and what the first
-- reading stores later changes nothing. No balance is written from a block older than its page or itself has seen; one that was
-- made due, locked or changed since it was selected is left as it is. Pages are locked before balances, both in the order of
-- their ids.

-- Locks a page that is due and says which balances belong to it: those of the asset behind after_id, up to last_id. NULL in all:
-- none is due. A page of more than `p_balances` is divided; a small one is handed out together with those behind it that are
-- free, as far as they fit, and they become one page when all of it was recorded. `record`: the rows of all its balances are to
-- be brought up to date, because that was done longer than p_record_seconds ago.
CREATE OR REPLACE FUNCTION claim_sync_page(
    p_chain_id integer, p_lock text, p_lock_seconds double precision, p_balances integer, p_record_seconds double precision,
    OUT asset_on_chain_id uuid, OUT after_id uuid, OUT last_id uuid, OUT record boolean
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    candidate record;
    page sync_pages;
BEGIN
    -- Not waited for on disk: whose claim a crash forgets finds the page lost, and it is read again.
    PERFORM set_config('synchronous_commit', 'off', true);

    -- The first page of an asset; its balances were due by themselves before.
    INSERT INTO sync_pages (asset_on_chain_id, last_id, next_check_at)
    SELECT a.id, 'ffffffff-ffff-ffff-ffff-ffffffffffff', now() + c.sync_interval
    FROM asset_on_chain a JOIN chains c ON c.id = a.chain_id
    WHERE a.chain_id = p_chain_id AND a.is_active
      AND NOT EXISTS (
          SELECT FROM sync_pages p
          WHERE p.asset_on_chain_id = a.id AND p.last_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ON CONFLICT DO NOTHING;

    -- Also what is due later than its interval allows: a clock was wrong, or the interval has been shortened since.
    FOR candidate IN
        SELECT near.*
        FROM asset_on_chain a
        JOIN chains c ON c.id = a.chain_id
        CROSS JOIN LATERAL (
            (SELECT p.asset_on_chain_id, p.last_id, p.next_check_at FROM sync_pages p
             WHERE p.asset_on_chain_id = a.id AND p.next_check_at <= now()
             ORDER BY p.next_check_at LIMIT 16)
            UNION ALL
            (SELECT p.asset_on_chain_id, p.last_id, p.next_check_at FROM sync_pages p
             WHERE p.asset_on_chain_id = a.id
               AND p.next_check_at > now() + c.sync_interval + interval '10 seconds'
               AND (p.locked_by IS NULL
                    OR p.next_check_at > now() + greatest(c.sync_interval, interval '1 hour') + interval '10 minutes')
             ORDER BY p.next_check_at DESC LIMIT 16)
        ) AS near
        WHERE a.chain_id = p_chain_id AND a.is_active AND c.is_active
        ORDER BY near.next_check_at
    LOOP
        -- Whoever has taken it meanwhile has moved its time.
        SELECT p.* INTO page FROM sync_pages p
        WHERE p.asset_on_chain_id = candidate.asset_on_chain_id AND p.last_id = candidate.last_id
          AND p.next_check_at = candidate.next_check_at
        FOR NO KEY UPDATE SKIP LOCKED;
        EXIT WHEN FOUND;
    END LOOP;
    IF page.last_id IS NULL THEN
        RETURN;
    END IF;

    asset_on_chain_id := page.asset_on_chain_id;
    after_id := coalesce(
        (SELECT p.last_id FROM sync_pages p
         WHERE p.asset_on_chain_id = page.asset_on_chain_id AND p.last_id < page.last_id
         ORDER BY p.last_id DESC LIMIT 1),
        '00000000-0000-0000-0000-000000000000');
    record := page.recorded_at <= now() - make_interval(secs => p_record_seconds) OR page.recorded_at > now()
        OR cardinality(page.read_at) >= 100;
    IF page.balances IS NULL OR page.balances > p_balances THEN
        last_id := divide_sync_page(page, after_id, p_balances);
    ELSE
        last_id := last_of_joined_pages(page, p_balances);
        record := record OR last_id <> page.last_id;
    END IF;

    UPDATE sync_pages p SET
        locked_by = p_lock,
        locked_at = now(),
        locked_until = now() + make_interval(secs => p_lock_seconds),
        next_check_at = now() + make_interval(secs => p_lock_seconds)
    WHERE p.asset_on_chain_id = page.asset_on_chain_id
      AND p.last_id > claim_sync_page.after_id AND p.last_id <= claim_sync_page.last_id;
END
$$;
REVOKE ALL ON FUNCTION claim_sync_page(integer, text, double precision, integer, double precision) FROM PUBLIC;

-- Divides a page that the caller has locked where it holds more than `p_balances`: in halves, or behind so many where even those
-- are more. Returns the end of the first part; the rest is as due as the whole was.
CREATE OR REPLACE FUNCTION divide_sync_page(page sync_pages, p_after uuid, p_balances integer) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    counted integer := (
        SELECT count(*) FROM (
            SELECT FROM wallet_balances b
            WHERE b.asset_on_chain_id = page.asset_on_chain_id AND b.next_check_at IS NULL
              AND b.id > p_after AND b.id <= page.last_id
            ORDER BY b.id LIMIT 2 * p_balances + 1) AS first);
    middle uuid;
BEGIN
    IF counted <= p_balances THEN
        RETURN page.last_id;
    END IF;
    SELECT b.id INTO middle FROM wallet_balances b
    WHERE b.asset_on_chain_id = page.asset_on_chain_id AND b.next_check_at IS NULL
      AND b.id > p_after AND b.id <= page.last_id
    ORDER BY b.id LIMIT 1 OFFSET least((counted + 1) / 2, p_balances) - 1;
    UPDATE sync_pages p SET balances = NULL, locked_by = NULL, locked_at = NULL, locked_until = NULL
    WHERE p.asset_on_chain_id = page.asset_on_chain_id AND p.last_id = page.last_id;
    INSERT INTO sync_pages (
        asset_on_chain_id, last_id, next_check_at, block_number, last_checked, read_at, recorded_at, last_error
    ) VALUES (
        page.asset_on_chain_id, middle, page.next_check_at, page.block_number, page.last_checked, page.read_at, page.recorded_at,
        page.last_error
    );
    RETURN middle;
END
$$;
REVOKE ALL ON FUNCTION divide_sync_page(sync_pages, uuid, integer) FROM PUBLIC;

-- Locks the pages that follow a small one and together with it hold no more than `p_balances`, as far as nobody holds them.
-- Returns the end of the last.
CREATE OR REPLACE FUNCTION last_of_joined_pages(page sync_pages, p_balances integer) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    following sync_pages;
    last uuid := page.last_id;
    total integer := page.balances;
BEGIN
    -- A quarter: what was divided in halves is not joined again.
    IF 4 * total > p_balances THEN
        RETURN last;
    END IF;
    LOOP
        SELECT p.* INTO following FROM sync_pages p
        WHERE p.asset_on_chain_id = page.asset_on_chain_id AND p.last_id > last
        ORDER BY p.last_id LIMIT 1;
        total := total + following.balances;
        EXIT WHEN following.locked_by IS NOT NULL OR total IS NULL OR total > p_balances;
        PERFORM FROM sync_pages p
        WHERE p.asset_on_chain_id = page.asset_on_chain_id AND p.last_id = following.last_id
          AND p.next_check_at = following.next_check_at
        FOR NO KEY UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        last := following.last_id;
    END LOOP;
    RETURN last;
END
$$;
REVOKE ALL ON FUNCTION last_of_joined_pages(sync_pages, integer) FROM PUBLIC;

-- Unlocks the pages of a claim that were not read: due again after `p_seconds`; `p_error` says why.
CREATE OR REPLACE FUNCTION unlock_sync_pages(
    p_lock text, p_asset uuid, p_after uuid, p_last uuid, p_seconds double precision, p_error text
) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE sync_pages p SET
        locked_by = NULL,
        locked_at = NULL,
        locked_until = NULL,
        next_check_at = least(p.next_check_at, now() + make_interval(secs => p_seconds)),
        last_error = p_error
    WHERE p.asset_on_chain_id = p_asset AND p.last_id > p_after AND p.last_id <= p_last AND p.locked_by = p_lock
$$;
REVOKE ALL ON FUNCTION unlock_sync_pages(text, uuid, uuid, uuid, double precision, text) FROM PUBLIC;

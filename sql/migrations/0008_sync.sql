-- Balances are read by pages, and only what changed is written.
--
-- Guarantees: every balance belongs to exactly one page of its asset, whatever its id: a page ends at last_id, begins behind the
-- page before it, and the last one ends at the highest id there is. A page is either locked by somebody until a time, or by
-- nobody.
--
-- A balance with next_check_at is due by itself at that time: new, moved, to be read again, not readable, locked. One without is
-- read with its page. So a balance that does not change costs no write, and what the page knows of it is shown by balance_state.

ALTER TABLE wallet_balances ALTER COLUMN next_check_at DROP NOT NULL;
COMMENT ON COLUMN wallet_balances.next_check_at IS 'due by itself at this time; NULL: read with its page (sync_pages)';

CREATE TABLE sync_pages (
    asset_on_chain_id uuid NOT NULL REFERENCES asset_on_chain (id) ON DELETE CASCADE,
    last_id uuid NOT NULL,                   -- of wallet_balances, whether or not there is such a row
    -- A claim moves it to locked_until, so that a lock that expires is due again.
    next_check_at timestamptz NOT NULL DEFAULT now(),
    locked_by text,
    locked_at timestamptz,
    locked_until timestamptz,
    balances integer CHECK (balances >= 0),  -- read the last time; NULL: not known, counted by the next claim
    block_number bigint,                     -- the newest final block that a read of this page has seen: no older one is stored
    last_checked timestamptz,                -- since then every balance of it was compared with the chain
    -- Reads that last_checked and sync_count of its balances do not count yet; emptied when they are brought up to date.
    read_at timestamptz[] NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    last_error text,                         -- why the last read failed as a whole
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_on_chain_id, last_id),
    CONSTRAINT a_page_is_locked_by_somebody_until_a_time CHECK (
        (locked_by IS NULL AND locked_at IS NULL AND locked_until IS NULL)
        OR (locked_by IS NOT NULL AND locked_at IS NOT NULL AND locked_until IS NOT NULL)
    ),
    CONSTRAINT times_are_between_1970_and_2100 CHECK (
        next_check_at >= '1970-01-01 00:00:00+00' AND next_check_at < '2100-01-01 00:00:00+00'
        AND locked_until >= '1970-01-01 00:00:00+00' AND locked_until < '2100-01-01 00:00:00+00'
    )
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX sync_pages_due ON sync_pages (asset_on_chain_id, next_check_at);
CREATE INDEX sync_pages_locked ON sync_pages (locked_by) WHERE locked_by IS NOT NULL;

-- Two indexes of a part each instead of one of all: a balance is in either, so that it costs no more to write.
DROP INDEX wallet_balances_due;
CREATE INDEX wallet_balances_due ON wallet_balances (asset_on_chain_id, next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX wallet_balances_paged ON wallet_balances (asset_on_chain_id, id) WHERE next_check_at IS NULL;

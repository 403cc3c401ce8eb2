-- Wallets with their flags, and what each of them holds.
--
-- Guarantees before any application code runs: one row per address and chain; one row per wallet and asset; a balance is a whole,
-- non-negative number of raw units, and its human form is always the same amount.
--
-- Times that are counted with lie within a human life, here and in the tables that follow: how long a job waited, when a balance is due,
-- how old a flag is. A row in the year 20000 would be waited for for good, Postgres 15 and 16 refuse to take infinity from now,
-- and Python has no such times at all. The bounds do not move, so that a row stays as right as it was: 1970 is what a clock
-- without a battery says, and 2100 later than anybody plans. A server's clock beyond them is refused by the first row that it
-- would be written into, and waited for (pipeline/db/pool.py).

CREATE TABLE wallets (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    user_id uuid REFERENCES auth.users (id),
    chain_id integer NOT NULL REFERENCES chains (id),
    -- Not checked for form here: an operator may write anything (and the runbooks do). Whoever reads a
    -- chain or signs checks it, and says so in wallet_balances.last_error.
    address text NOT NULL CHECK (address <> ''),
    -- i of m/44'/…/0'/0/i. NULL: not derived from our mnemonic, so it never receives gas.
    derivation_index bigint CHECK (derivation_index BETWEEN 0 AND 2147483647),
    needs_gas boolean NOT NULL DEFAULT false,
    needs_consolidation boolean NOT NULL DEFAULT false,
    -- When the work a flag calls for became possible; kept by triggers/flag_times.sql.
    needs_gas_since timestamptz,
    needs_consolidation_since timestamptz,
    consolidation_ready_since timestamptz,   -- needs_consolidation and not needs_gas
    -- When each flag last fell, so that a flag which nobody raised can be told from one that was lowered. Rows written while triggers
    -- do not fire (bulk loads, logical replication, a disabled trigger) leave balances that nobody judged: the flag is down though
    -- the rule wants it up. So does an operator who lowers a flag, and a job that found nothing to do; those are left alone
    -- until an amount changes (sql/functions/repairs.sql). NULL: it never fell.
    gas_flag_fell_at timestamptz,
    consolidation_flag_fell_at timestamptz,
    -- Gas comes before consolidation: a wallet calls for one job at a time, since then. As columns, so
    -- that one statement with one index enqueues both types.
    wanted_job text GENERATED ALWAYS AS (
        CASE WHEN needs_gas THEN 'gas-topup' WHEN needs_consolidation THEN 'consolidation' END
    ) STORED,
    wanted_since timestamptz GENERATED ALWAYS AS (
        CASE WHEN needs_gas THEN coalesce(needs_gas_since, created_at)
             WHEN needs_consolidation THEN coalesce(consolidation_ready_since, created_at) END
    ) STORED,
    -- When the flag behind wanted_job rose. A wallet rests after a failure unless its flag has risen since; that its
    -- gas was filled up in between, perhaps because the failure burned it, is no new reason to try.
    flagged_since timestamptz GENERATED ALWAYS AS (
        CASE WHEN needs_gas THEN coalesce(needs_gas_since, created_at)
             WHEN needs_consolidation THEN coalesce(needs_consolidation_since, created_at) END
    ) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, address),
    UNIQUE (chain_id, derivation_index),
    CONSTRAINT times_are_between_1970_and_2100 CHECK (
        needs_gas_since >= '1970-01-01 00:00:00+00' AND needs_gas_since < '2100-01-01 00:00:00+00'
        AND needs_consolidation_since >= '1970-01-01 00:00:00+00' AND needs_consolidation_since < '2100-01-01 00:00:00+00'
        AND consolidation_ready_since >= '1970-01-01 00:00:00+00' AND consolidation_ready_since < '2100-01-01 00:00:00+00'
        AND created_at >= '1970-01-01 00:00:00+00' AND created_at < '2100-01-01 00:00:00+00'
    )
) WITH (fillfactor = 80);
CREATE INDEX wallets_address ON wallets (address);
CREATE INDEX wallets_user ON wallets (user_id) WHERE user_id IS NOT NULL;
-- Flags in the order in which they rose: the oldest is served first, and a scan of the newest need not walk over all entries
-- that flags have left since the oldest transaction began (sql/queries/queue/enqueue_and_claim.sql).
CREATE INDEX wallets_wanting_a_job ON wallets (wanted_job, wanted_since, id) WHERE wanted_job IS NOT NULL;

CREATE TABLE wallet_balances (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    wallet_id uuid NOT NULL REFERENCES wallets (id) ON DELETE CASCADE,
    asset_on_chain_id uuid NOT NULL REFERENCES asset_on_chain (id),
    on_chain_balance_raw text NOT NULL DEFAULT '0',
    on_chain_balance_human numeric NOT NULL DEFAULT 0,
    unit numeric NOT NULL,                   -- 10 ^ decimals of the asset; set by trigger
    processing_status text NOT NULL DEFAULT 'idle' CHECK (processing_status IN ('idle', 'processing')),
    locked_until timestamptz,
    locked_by text,
    -- Due at this time; a claim moves it to locked_until, so that a lock that expires is due again.
    next_check_at timestamptz NOT NULL DEFAULT now(),
    -- The amount may not be current: never read yet, or a payment has settled since. It decides no flag until the
    -- next read, and that one decides even if it finds the same amount.
    recheck boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL DEFAULT now(), -- when the amount last changed; set by trigger
    block_number bigint,                     -- the final block the balance was read at
    last_checked timestamptz,
    last_processed_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    sync_count bigint NOT NULL DEFAULT 0,
    error_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (wallet_id, asset_on_chain_id),
    CONSTRAINT balance_is_a_whole_number_of_raw_units CHECK (on_chain_balance_raw ~ '^(0|[1-9][0-9]{0,77})$'),
    CONSTRAINT raw_and_human_are_the_same_amount CHECK (on_chain_balance_human * unit = on_chain_balance_raw::numeric),
    CONSTRAINT processing_is_locked_by_somebody CHECK (
        processing_status = 'idle' OR (locked_by IS NOT NULL AND locked_until IS NOT NULL)
    ),
    CONSTRAINT times_are_between_1970_and_2100 CHECK (
        next_check_at >= '1970-01-01 00:00:00+00' AND next_check_at < '2100-01-01 00:00:00+00'
        AND locked_until >= '1970-01-01 00:00:00+00' AND locked_until < '2100-01-01 00:00:00+00'
        AND last_error_at >= '1970-01-01 00:00:00+00' AND last_error_at < '2100-01-01 00:00:00+00'
    )
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
-- By asset first, so that the due rows of a chain that is switched off are not scanned by the others.
CREATE INDEX wallet_balances_due ON wallet_balances (asset_on_chain_id, next_check_at);
-- The few balances that are being read just now: what a dead sync had locked is found without a scan of all that are due.
CREATE INDEX wallet_balances_locked ON wallet_balances (locked_by) WHERE processing_status = 'processing';

-- Chains, their assets, and who owns a wallet.
--
-- Guarantees before any application code runs: a threshold is a whole number of raw units (sun, wei) and never negative; thresholds
-- that contradict each other cannot be stored; every chain has at most one native coin, and a bound on what one transaction may
-- cost; two rows never name the same network.
--
-- Ids of rows that operators name are UUIDs in the order of time (version 7, RFC 9562: milliseconds since 1970, then a 4096th of
-- one, then chance). Random ids would spread the versions that each job leaves behind over the whole primary key; in the order of time
-- the live rows share a few pages at its end. The default is spelled out in each table, because uuidv7() is not there before
-- Postgres 18, and a function of ours would have to be granted to whoever may insert.

-- On a Supabase database auth.users is there and is left alone; elsewhere a minimal one stands in. Asked first, because there the schema
-- belongs to somebody else, and IF NOT EXISTS needs the right to create what is there already.
DO $$
BEGIN
    IF to_regclass('auth.users') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS auth;
        CREATE TABLE auth.users (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            email text,
            created_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$$;

-- Money is a whole number of the chain's smallest unit; 78 digits hold every uint256. The precision
-- is a check and not numeric(78, 0), because that type would quietly round 1.5 to 2.
CREATE DOMAIN raw_amount AS numeric
    CONSTRAINT raw_amount_is_not_negative CHECK (value >= 0)
    CONSTRAINT raw_amount_is_whole CHECK (value = trunc(value))
    CONSTRAINT raw_amount_has_at_most_78_digits CHECK (value < 1e78);

CREATE TABLE chains (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9-]*$'),
    family text NOT NULL CHECK (family IN ('tron', 'evm', 'bitcoin')),
    is_active boolean NOT NULL DEFAULT true,
    -- What the node must answer at start: the genesis block id on TRON, the chain id on EVM.
    network_id text NOT NULL,
    -- [{"url": "http://…", "solidity_url": "http://…"}], in order of preference. API keys are not kept
    -- here but in FLAGPOST_API_KEYS_<CHAIN>.
    nodes jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(nodes) = 'array'),
    -- Where this chain's tokens go: shown to operators and compared by doctor. The executor believes
    -- only its own key or FLAGPOST_TREASURY_<CHAIN>, never this column.
    treasury_address text,
    gas_address text,

    gas_policy text NOT NULL DEFAULT 'threshold' CHECK (gas_policy IN ('threshold', 'on_demand')),
    gas_flag_below raw_amount NOT NULL,      -- needs_gas rises below this native balance
    gas_execute_below raw_amount NOT NULL,   -- a top-up is sent only below this, read at execution
    gas_amount raw_amount NOT NULL CHECK (gas_amount > 0), -- what `threshold` sends
    fee_reserve raw_amount NOT NULL,         -- a consolidation needs at least this native balance
    gas_cooldown interval NOT NULL DEFAULT '10 minutes',   -- between two top-ups of one wallet
    gas_max_per_topup raw_amount NOT NULL,
    gas_max_per_wallet_day raw_amount NOT NULL,
    gas_max_per_day raw_amount NOT NULL,
    gas_max_total raw_amount,                -- NULL: no limit over all time

    -- The most that one transaction may cost, native raw units, whatever a node says of prices and of energy or gas. A row that
    -- names none gets gas_max_per_topup (triggers/chain_fee_max.sql).
    fee_max raw_amount NOT NULL CHECK (fee_max > 0),
    -- A top-up is worth at least so many times its own fee: less than that is never sent, more is sent instead.
    topup_fee_multiple numeric NOT NULL DEFAULT 3
        CONSTRAINT topups_are_worth_their_fee CHECK (topup_fee_multiple BETWEEN 1 AND 1000),
    -- A transaction may cost so many times what payments of its kind cost on average in the last 24 hours; a 400th of fee_max
    -- counts as usual in any case.
    fee_rise_max numeric NOT NULL DEFAULT 20
        CONSTRAINT fees_rise_within_bounds CHECK (fee_rise_max BETWEEN 2 AND 1000000),
    -- How fees are chosen (EVM): {"cap": 500000000000, …} in wei for a unit of gas. Empty: the defaults.
    fees jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fees) = 'object'),
    -- EVM: a transaction that is next in its sender's nonce queue and in none of so many blocks is replaced with higher fees.
    replace_after_blocks integer NOT NULL DEFAULT 6 CHECK (replace_after_blocks >= 1),

    sync_interval interval NOT NULL DEFAULT '5 minutes' CHECK (sync_interval > '0'),
    block_time interval NOT NULL DEFAULT '3 seconds' CHECK (block_time > '0'),
    transaction_lifetime interval NOT NULL DEFAULT '3 minutes' CHECK (transaction_lifetime > '0'),
    -- How far the time of a block may be ahead of this server's clock (triggers/cursors.sql). Chains and servers agree within
    -- seconds.
    clock_ahead interval NOT NULL DEFAULT '2 minutes' CHECK (clock_ahead > '0'),

    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),

    -- Two rows of one network would fill and empty the same addresses, each by its own rules.
    UNIQUE (family, network_id),
    CONSTRAINT gas_is_executed_only_where_it_is_flagged CHECK (gas_execute_below <= gas_flag_below),
    CONSTRAINT a_topup_lifts_the_wallet_over_execute_below CHECK (gas_amount >= gas_execute_below),
    CONSTRAINT a_topup_covers_the_fee_reserve CHECK (gas_amount >= fee_reserve),
    CONSTRAINT a_topup_fits_its_own_limit CHECK (gas_amount <= gas_max_per_topup),
    CONSTRAINT gas_limits_grow CHECK (
        gas_max_per_topup <= gas_max_per_wallet_day AND gas_max_per_wallet_day <= gas_max_per_day
    ),
    -- What is added to now: an interval of 200,000 years ends beyond all times, and with it every statement that adds it.
    CONSTRAINT intervals_are_at_most_a_year CHECK (
        sync_interval <= '366 days' AND gas_cooldown BETWEEN '0' AND '366 days'
        AND block_time <= '1 day' AND transaction_lifetime <= '1 day'
    )
);

CREATE TABLE asset_on_chain (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    chain_id integer NOT NULL REFERENCES chains (id),
    symbol text NOT NULL CHECK (symbol <> ''),
    contract_address text,                   -- NULL: the native coin
    decimals smallint NOT NULL CHECK (decimals BETWEEN 0 AND 36),
    is_active boolean NOT NULL DEFAULT true,
    consolidate_flag_above raw_amount,       -- needs_consolidation rises above this token balance
    consolidate_execute_min raw_amount,      -- a consolidation is sent only from this balance on
    -- Tokens that are kept as shares (stETH and its like) move by whole shares, and arrive 1 or 2 raw units short. Such a transfer
    -- counts as made; 0 for all others. A token that takes a fee takes a ten-thousandth at the least: it cannot hide in ten
    -- units that are no millionth of the smallest payment.
    transfer_tolerance raw_amount NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),

    UNIQUE (chain_id, contract_address),
    CONSTRAINT tokens_have_thresholds_and_coins_have_none CHECK (
        (contract_address IS NULL AND consolidate_flag_above IS NULL AND consolidate_execute_min IS NULL)
        OR (contract_address IS NOT NULL AND consolidate_flag_above IS NOT NULL AND consolidate_execute_min IS NOT NULL)
    ),
    CONSTRAINT consolidation_is_executed_where_it_is_flagged CHECK (
        consolidate_execute_min > 0 AND consolidate_execute_min <= consolidate_flag_above
    ),
    CONSTRAINT a_tolerance_is_ten_units_at_the_most CHECK (transfer_tolerance <= 10),
    CONSTRAINT a_tolerance_is_a_millionth_at_the_most CHECK (
        transfer_tolerance = 0
        OR (consolidate_execute_min IS NOT NULL AND transfer_tolerance * 1000000 <= consolidate_execute_min)
    )
);
CREATE UNIQUE INDEX asset_on_chain_one_native_coin ON asset_on_chain (chain_id) WHERE contract_address IS NULL;

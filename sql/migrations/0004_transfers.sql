-- Money in flight. Read with docs/architecture.md, "Moving money exactly once".
--
-- Guarantees before any application code runs: one transfer per idempotency key; one live transfer
-- per wallet, asset and kind; one live signed attempt per transfer (an EVM fee bump shares its
-- nonce and is the one exception); a txid belongs to one attempt; final rows do not change.

CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('gas', 'consolidation', 'withdrawal')),
    job_id uuid NOT NULL REFERENCES job_logs (id),
    chain_id integer NOT NULL REFERENCES chains (id),
    wallet_id bigint NOT NULL REFERENCES wallets (id),       -- the wallet it serves
    asset_on_chain_id integer NOT NULL REFERENCES asset_on_chain (id),
    from_address text NOT NULL,
    to_address text NOT NULL CHECK (to_address <> from_address),
    amount raw_amount NOT NULL CHECK (amount > 0),           -- raw units of the asset
    idempotency_key text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN (
        'requested', 'signed', 'broadcasting', 'included', 'final', 'reverted', 'expired', 'rejected'
    )),
    fee_paid raw_amount,                                     -- native raw units, known once final or reverted
    error_message text,
    settled_at timestamptz,                                  -- final, reverted or rejected
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settled_transfers_have_an_end CHECK (
        (state IN ('final', 'reverted', 'rejected')) = (settled_at IS NOT NULL)
    )
);
CREATE UNIQUE INDEX transfers_one_live_per_wallet_asset_and_kind ON transfers (wallet_id, asset_on_chain_id, kind)
    WHERE state NOT IN ('final', 'reverted', 'rejected');
CREATE INDEX transfers_live ON transfers (chain_id, id) WHERE state NOT IN ('final', 'reverted', 'rejected');
CREATE INDEX transfers_job ON transfers (job_id);
-- The gas cooldown and the daily budget of one wallet.
CREATE INDEX transfers_gas_by_wallet ON transfers (wallet_id, created_at) WHERE kind = 'gas' AND state <> 'rejected';

-- Gas promised, by chain and hour (UTC): what the daily and total budgets add up, so that a top-up
-- costs the same after a million of them. Kept by triggers/gas_budgets.sql alone.
CREATE TABLE gas_spending (
    chain_id integer NOT NULL REFERENCES chains (id),
    hour timestamptz NOT NULL,
    topups bigint NOT NULL,
    amount raw_amount NOT NULL,                              -- native raw units
    PRIMARY KEY (chain_id, hour)
) WITH (fillfactor = 50);

CREATE TABLE chain_transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id bigint NOT NULL REFERENCES transfers (id),
    chain_id integer NOT NULL REFERENCES chains (id),
    attempt integer NOT NULL CHECK (attempt >= 1),
    txid text NOT NULL,                                      -- computed here, from bytes built here
    signed_bytes bytea NOT NULL,
    sender text NOT NULL,
    nonce bigint CHECK (nonce >= 0),                         -- EVM
    ref_block bigint,                                        -- TRON: height of the solid block referred to
    expiration timestamptz,                                  -- TRON
    fee_cap raw_amount NOT NULL,                             -- native raw units: fee limit plus bandwidth
    state text NOT NULL DEFAULT 'signed' CHECK (state IN (
        'signed', 'broadcasting', 'included', 'final', 'reverted', 'expired', 'rejected'
    )),
    first_broadcast_at timestamptz,
    last_broadcast_at timestamptz,
    broadcast_count integer NOT NULL DEFAULT 0,
    last_result text,                                        -- the node's last answer, or how it failed to give one
    block_number bigint,
    block_id text,
    block_time timestamptz,
    fee_paid raw_amount,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, txid),
    UNIQUE (transfer_id, attempt),
    CONSTRAINT an_attempt_can_be_proved_dead CHECK ((nonce IS NULL) <> (expiration IS NULL)),
    CONSTRAINT included_means_in_a_block CHECK (
        state NOT IN ('included', 'final', 'reverted') OR block_number IS NOT NULL
    )
);
CREATE UNIQUE INDEX chain_transactions_one_live_attempt ON chain_transactions (transfer_id)
    WHERE nonce IS NULL AND state IN ('signed', 'broadcasting', 'included', 'final');
CREATE INDEX chain_transactions_live ON chain_transactions (chain_id, id)
    WHERE state IN ('signed', 'broadcasting', 'included');
CREATE INDEX chain_transactions_buried ON chain_transactions (chain_id, updated_at) WHERE state IN ('expired', 'rejected');

-- How far the confirmation worker has read a chain's final blocks, without a gap.
CREATE TABLE chain_cursors (
    chain_id integer NOT NULL REFERENCES chains (id),
    purpose text NOT NULL CHECK (purpose IN ('confirmations', 'deposits')),
    block_number bigint NOT NULL,
    block_id text NOT NULL,
    block_time timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, purpose)
);

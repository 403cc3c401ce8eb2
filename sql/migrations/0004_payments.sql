-- Money in flight. Read with docs/architecture.md, "Moving money exactly once".
--
-- Guarantees before any application code runs: one transfer per idempotency key; one live transfer per wallet, asset and kind;
-- all payments of a bundle have its chain and its sender; one signature is asked for a bundle at a time, and bytes exist only for a
-- request that was signed; one live signed attempt per bundle (replacements of one nonce are the exception: at most one of them
-- lands, and at most one is final); a txid belongs to one attempt; no two payments claim the same effect of a transaction; each
-- request names the most that its transaction may cost, which the gas budgets count with the amounts; what was found on the chain
-- is told from what was signed here, and has no bytes to send; only a final payment says what arrived; final rows do not change.

-- What one transaction carries: one payment, or several of one sender.
CREATE TABLE bundles (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, chain_id, sender)
);

CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- gap: a sender pays itself, to use up a nonce that later payments wait behind (EVM). Nobody's job, and it serves no wallet.
    kind text NOT NULL CHECK (kind IN ('gas', 'consolidation', 'withdrawal', 'gap')),
    bundle_id bigint NOT NULL,                               -- its transaction: left out, it gets one of its own
    job_id uuid REFERENCES job_logs (id),
    chain_id integer NOT NULL REFERENCES chains (id),
    wallet_id uuid REFERENCES wallets (id),                  -- the wallet it serves
    asset_on_chain_id uuid NOT NULL REFERENCES asset_on_chain (id),
    from_address text NOT NULL,
    to_address text NOT NULL,
    amount raw_amount NOT NULL CHECK (amount > 0),           -- raw units of the asset
    idempotency_key text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN (
        'requested', 'broadcasting', 'included', 'final', 'reverted', 'expired', 'rejected'
    )),
    -- The most that its transaction is to cost, native raw units. NULL: found on the chain; budgets count what it has paid.
    fee_reserved raw_amount,
    fee_paid raw_amount,                                     -- native raw units, known once final or reverted
    -- What arrived, raw units, where it is not the amount: the token takes a fee on transfers, or is kept as shares and rounds.
    -- NULL: the amount, or not final.
    arrived raw_amount,
    -- Where its effect stands in the final transaction: v the value, l3 the third log of the receipt, i3 the third internal
    -- transfer, o0 the first output. Numbered within the transaction, so that a reorg moves none.
    place text CHECK (place ~ '^(v|[lio](0|[1-9][0-9]{0,8}))$'),
    found_on_chain boolean NOT NULL DEFAULT false,
    -- Somebody with the keys is to sign it again, with the same nonce and higher fees. Set by the confirmation worker, taken back
    -- by who signed it or could not.
    replace_wanted_at timestamptz,
    error_message text,
    settled_at timestamptz,                                  -- final, reverted or rejected
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT settled_transfers_have_an_end CHECK (
        (state IN ('final', 'reverted', 'rejected')) = (settled_at IS NOT NULL)
    ),
    CONSTRAINT only_gaps_pay_their_sender CHECK ((kind = 'gap') = (to_address = from_address)),
    CONSTRAINT only_gaps_have_no_job CHECK ((kind = 'gap') = (job_id IS NULL) AND (kind = 'gap') = (wallet_id IS NULL)),
    FOREIGN KEY (bundle_id, chain_id, from_address) REFERENCES bundles (id, chain_id, sender),
    CONSTRAINT only_what_is_final_has_a_place CHECK (place IS NULL OR state = 'final'),
    CONSTRAINT arrived_otherwise_means_final CHECK (
        arrived IS NULL OR (state = 'final' AND arrived > 0 AND arrived <> amount)
    )
);
-- What was found has happened already, whatever is asked for at that moment.
CREATE UNIQUE INDEX transfers_one_live_per_wallet_asset_and_kind ON transfers (wallet_id, asset_on_chain_id, kind)
    WHERE state NOT IN ('final', 'reverted', 'rejected') AND NOT found_on_chain;
CREATE INDEX transfers_live ON transfers (chain_id, id) WHERE state NOT IN ('final', 'reverted', 'rejected');
CREATE INDEX transfers_live_gaps ON transfers (chain_id, from_address)
    WHERE kind = 'gap' AND state NOT IN ('final', 'reverted', 'rejected');
CREATE INDEX transfers_replace_wanted ON transfers (chain_id, id) WHERE replace_wanted_at IS NOT NULL;
CREATE INDEX transfers_job ON transfers (job_id);
CREATE INDEX transfers_bundle ON transfers (bundle_id);
CREATE UNIQUE INDEX transfers_one_per_effect ON transfers (bundle_id, place) WHERE place IS NOT NULL;
-- The gas cooldown and the daily budget of one wallet.
CREATE INDEX transfers_gas_by_wallet ON transfers (wallet_id, created_at) WHERE kind = 'gas' AND state <> 'rejected';

CREATE TABLE signing_requests (
    request_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),   -- the signer knows it by this: asked again, it gives the same bytes
    bundle_id bigint NOT NULL,
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    replaces bigint,                                         -- the attempt whose fees it raises (EVM)
    nonce bigint CHECK (nonce >= 0),                         -- EVM
    ref_block bigint,                                        -- TRON: height of the solid block referred to
    expiration timestamptz,                                  -- TRON
    parameters jsonb NOT NULL,                               -- what a signer builds the bytes from, besides the payments
    unsigned_bytes bytea NOT NULL CHECK (unsigned_bytes <> ''),
    fee_cap raw_amount NOT NULL,                             -- native raw units
    state text NOT NULL DEFAULT 'asked' CHECK (state IN (
        'asked',      -- it may be signed, whatever became of the process that asked
        'signed',     -- the bytes are kept, as an attempt
        'refused'     -- it was never signed, or its nonce is used: nothing comes of it
    )),
    refusal text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (bundle_id, chain_id, sender) REFERENCES bundles (id, chain_id, sender),
    CONSTRAINT what_is_asked_for_can_be_proved_dead CHECK ((nonce IS NULL) <> (expiration IS NULL)),
    CONSTRAINT only_numbered_ones_are_replaced CHECK (replaces IS NULL OR nonce IS NOT NULL),
    CONSTRAINT what_is_refused_says_why CHECK ((state = 'refused') = (refusal IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX signing_requests_one_open ON signing_requests (bundle_id) WHERE state = 'asked';
CREATE INDEX signing_requests_open ON signing_requests (chain_id, sender, nonce) WHERE state = 'asked';
CREATE INDEX signing_requests_bundle ON signing_requests (bundle_id);
CREATE INDEX signing_requests_refused ON signing_requests (chain_id, updated_at) WHERE state = 'refused';

CREATE TABLE chain_transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bundle_id bigint NOT NULL,
    request_id uuid UNIQUE REFERENCES signing_requests (request_id),
    chain_id integer NOT NULL REFERENCES chains (id),
    attempt integer NOT NULL CHECK (attempt >= 1),
    txid text NOT NULL,                                      -- computed here, from bytes built here
    signed_bytes bytea NOT NULL,
    sender text NOT NULL,
    nonce bigint CHECK (nonce >= 0),                         -- EVM
    ref_block bigint,                                        -- TRON: height of the solid block referred to
    expiration timestamptz,                                  -- TRON
    fee_cap raw_amount NOT NULL,                             -- native raw units: fee limit plus bandwidth
    state text NOT NULL DEFAULT 'broadcasting' CHECK (state IN (
        'broadcasting', 'included', 'final', 'reverted', 'replaced', 'expired'
    )),
    found_on_chain boolean NOT NULL DEFAULT false,
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
    UNIQUE (bundle_id, attempt),
    FOREIGN KEY (bundle_id, chain_id, sender) REFERENCES bundles (id, chain_id, sender),
    CONSTRAINT only_what_was_found_was_not_asked_for CHECK (found_on_chain = (request_id IS NULL)),
    CONSTRAINT an_attempt_can_be_proved_dead CHECK ((nonce IS NULL) <> (expiration IS NULL)),
    CONSTRAINT only_what_was_found_has_no_bytes CHECK (found_on_chain = (signed_bytes = '')),
    CONSTRAINT included_means_in_a_block CHECK (
        state NOT IN ('included', 'final', 'reverted') OR block_number IS NOT NULL
    )
);
CREATE UNIQUE INDEX chain_transactions_one_live_attempt ON chain_transactions (bundle_id)
    WHERE nonce IS NULL AND state IN ('broadcasting', 'included', 'final');
CREATE UNIQUE INDEX chain_transactions_one_final_attempt ON chain_transactions (bundle_id)
    WHERE state IN ('final', 'reverted');
CREATE UNIQUE INDEX chain_transactions_one_final_per_nonce ON chain_transactions (chain_id, sender, nonce)
    WHERE state IN ('final', 'reverted');
CREATE INDEX chain_transactions_nonce ON chain_transactions (chain_id, sender, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX chain_transactions_live ON chain_transactions (chain_id, id)
    WHERE state IN ('broadcasting', 'included');
CREATE INDEX chain_transactions_expired ON chain_transactions (chain_id, updated_at) WHERE state = 'expired';

ALTER TABLE signing_requests ADD FOREIGN KEY (replaces) REFERENCES chain_transactions (id);

-- Gas promised, by chain and hour (UTC): what the daily and total budgets add up, so that a top-up
-- costs the same after a million of them. Kept by triggers/gas_budgets.sql alone.
CREATE TABLE gas_spending (
    chain_id integer NOT NULL REFERENCES chains (id),
    hour timestamptz NOT NULL,
    topups bigint NOT NULL,
    amount raw_amount NOT NULL,                              -- native raw units
    -- Of top-ups and of gaps: reserved, or capped by what is signed, until the chain has said what was paid.
    fees raw_amount NOT NULL DEFAULT 0,
    PRIMARY KEY (chain_id, hour)
) WITH (fillfactor = 50);

-- What settled payments have cost, by chain, kind and hour (UTC): a fee far above it is refused. Kept by triggers/fees_paid.sql
-- alone.
CREATE TABLE fees_paid (
    chain_id integer NOT NULL REFERENCES chains (id),
    kind text NOT NULL,
    hour timestamptz NOT NULL,
    payments bigint NOT NULL,
    fees raw_amount NOT NULL,                                -- native raw units, all of them together
    highest raw_amount NOT NULL,                             -- of one payment
    PRIMARY KEY (chain_id, kind, hour)
) WITH (fillfactor = 50);

-- How far a chain's final blocks have been read, without a gap.
CREATE TABLE chain_cursors (
    chain_id integer NOT NULL REFERENCES chains (id),
    purpose text NOT NULL CHECK (purpose IN ('confirmations', 'deposits')),
    block_number bigint NOT NULL,
    block_id text NOT NULL,
    block_time timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, purpose)
);

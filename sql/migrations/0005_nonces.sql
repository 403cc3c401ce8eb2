-- Chains whose transactions are numbered by their sender (EVM): whose each nonce is, and what the chain proves about a sender.
--
-- Guarantees before any application code runs: a nonce of a sender belongs to one bundle; from a sender's first nonce on there is
-- a row of each, without a hole; the recorded count of a sender's final transactions, and the final block it was read at, only grow;
-- a sender that is frozen or stuck says why and since when.

CREATE TABLE nonces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    bundle_id bigint,                                        -- whose it is, or was last
    state text NOT NULL DEFAULT 'reserved' CHECK (state IN (
        'reserved',   -- of its bundle, until the chain has decided
        'used',       -- by a transaction of ours in a final block
        'lost',       -- used by somebody else: proved by a final block
        'void'        -- no payment has it and the chain waits for it: to be filled by a gap, by nothing else
    )),
    -- The final block up to which all were read when the attempts with it were proved dead: in none of them, and used.
    lost_at_block bigint,
    -- The transaction that used it, where it was none of those that its payment was signed with.
    used_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, sender, nonce),
    FOREIGN KEY (bundle_id, chain_id, sender) REFERENCES bundles (id, chain_id, sender),
    CONSTRAINT nonces_of_payments_name_them CHECK (state IN ('void', 'lost') OR bundle_id IS NOT NULL)
);
CREATE UNIQUE INDEX nonces_one_reserved_per_bundle ON nonces (bundle_id) WHERE state = 'reserved';
CREATE INDEX nonces_bundle ON nonces (bundle_id);
CREATE INDEX nonces_void ON nonces (chain_id, sender, nonce) WHERE state = 'void';

CREATE TABLE senders (
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    -- From here on nonces has them all; what was before is older than our record of it. NULL: not looked up yet.
    first_nonce bigint CHECK (first_nonce >= 0),
    -- The proof that payments can never land depends on these: so many of its transactions are final, counted when final_block had been read.
    finalized bigint NOT NULL DEFAULT 0 CHECK (finalized >= 0),
    final_block bigint,
    -- The chain or a node's pool showed transactions, up to this nonce, that are not recorded here: nothing new is signed before
    -- the confirmation worker has found out what they did.
    unknown_below bigint,
    unknown_since timestamptz,
    -- One of them was no payment like ours: nothing new is signed until an operator releases it (release_sender).
    frozen text,
    frozen_since timestamptz,
    -- Reconciling it does not end, or its first payment in the nonce queue is in no block, for longer than its chain's bound, or
    -- what used a nonce of it cannot be explained: why, and what to do. Written and taken back by the confirmation worker; nothing
    -- new is signed behind a nonce queue that stands still.
    stuck text,
    stuck_since timestamptz,
    -- These nonces are used at a final block (or full of what a pool holds), and what by is for a person to judge: exactly those
    -- that `stuck` names, and none in between.
    unexplained int8multirange,
    -- A person has judged those (release_sender), at that time: what is not explained of them is nothing of ours. It says nothing of
    -- other nonces, of no payment that was sent later, and of nothing that was noticed later.
    released int8multirange,
    released_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, sender),
    CONSTRAINT counts_name_their_block CHECK (finalized = 0 OR final_block IS NOT NULL),
    CONSTRAINT what_is_unknown_has_a_beginning CHECK ((unknown_below IS NULL) = (unknown_since IS NULL)),
    CONSTRAINT what_is_frozen_has_a_beginning CHECK ((frozen IS NULL) = (frozen_since IS NULL)),
    CONSTRAINT what_is_stuck_has_a_beginning CHECK ((stuck IS NULL) = (stuck_since IS NULL)),
    CONSTRAINT what_is_unexplained_is_stuck CHECK (unexplained IS NULL OR (stuck IS NOT NULL AND NOT isempty(unexplained))),
    CONSTRAINT what_is_released_has_its_time CHECK ((released IS NULL) = (released_at IS NULL))
);
CREATE INDEX senders_unknown ON senders (chain_id, sender)
    WHERE unknown_below IS NOT NULL OR frozen IS NOT NULL OR stuck IS NOT NULL;

-- Chains whose transactions are numbered by their sender (EVM).
--
-- Guarantees before any application code runs: a nonce of a sender belongs to one payment; all live attempts of a payment
-- share its nonce and its sender, so that at most one of them can ever land; at most one attempt of a payment, and
-- at most one transaction of a nonce, is final. A nonce that nobody may use any more for a payment is filled by a
-- payment of the sender to itself (kind 'gap'), which is in the books like any other.

ALTER TABLE chains
    -- How fees are chosen (EVM): {"cap": 500000000000, …} in wei for a unit of gas. Empty: the defaults.
    ADD COLUMN fees jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fees) = 'object'),
    -- EVM: a transaction that is next in its sender's line and in none of so many blocks is offered again for more.
    ADD COLUMN replace_after_blocks integer NOT NULL DEFAULT 6 CHECK (replace_after_blocks >= 1);

-- A gap is nobody's job and serves no wallet: it has neither, and pays its own sender.
ALTER TABLE transfers
    ALTER COLUMN job_id DROP NOT NULL,
    ALTER COLUMN wallet_id DROP NOT NULL,
    -- Somebody with the keys is to offer it again, with the same nonce and higher fees. Set by the confirmation worker,
    -- taken back by who signed it or could not.
    ADD COLUMN replace_wanted_at timestamptz,
    DROP CONSTRAINT transfers_kind_check,
    DROP CONSTRAINT transfers_check,
    ADD CONSTRAINT transfers_kind_check CHECK (kind IN ('gas', 'consolidation', 'withdrawal', 'gap')),
    ADD CONSTRAINT only_gaps_pay_their_sender CHECK ((kind = 'gap') = (to_address = from_address)),
    ADD CONSTRAINT only_gaps_have_no_job CHECK ((kind = 'gap') = (job_id IS NULL) AND (kind = 'gap') = (wallet_id IS NULL));
CREATE INDEX transfers_replace_wanted ON transfers (chain_id, id) WHERE replace_wanted_at IS NOT NULL;

ALTER TABLE chain_transactions
    DROP CONSTRAINT chain_transactions_state_check,
    ADD CONSTRAINT chain_transactions_state_check CHECK (state IN (
        'signed', 'broadcasting', 'included', 'final', 'reverted', 'replaced', 'expired', 'rejected'
    ));
CREATE UNIQUE INDEX chain_transactions_one_final_attempt ON chain_transactions (transfer_id)
    WHERE state IN ('final', 'reverted');
CREATE UNIQUE INDEX chain_transactions_one_final_per_nonce ON chain_transactions (chain_id, sender, nonce)
    WHERE state IN ('final', 'reverted');
CREATE INDEX chain_transactions_nonce ON chain_transactions (chain_id, sender, nonce) WHERE nonce IS NOT NULL;

CREATE TABLE nonces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    transfer_id bigint REFERENCES transfers (id),            -- whose it is, or was last
    state text NOT NULL DEFAULT 'reserved' CHECK (state IN (
        'reserved',   -- of its payment, until the chain has decided
        'used',       -- by a transaction of ours in a final block
        'lost',       -- used by somebody else: proved by a final block
        'released',   -- nothing was ever signed with it: the next payment takes it
        'void'        -- bytes were signed and given up, or nobody knows: to be filled by a gap, by nothing else
    )),
    -- The final block up to which all were read when the attempts with it were proved dead: in none of them, and used.
    lost_at_block bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, sender, nonce),
    CONSTRAINT nonces_of_payments_name_them CHECK (state IN ('released', 'void', 'lost') OR transfer_id IS NOT NULL)
);
CREATE UNIQUE INDEX nonces_one_reserved_per_transfer ON nonces (transfer_id) WHERE state = 'reserved';
CREATE INDEX nonces_transfer ON nonces (transfer_id);
CREATE INDEX nonces_open ON nonces (chain_id, sender, nonce) WHERE state IN ('released', 'void');

-- What the senders of numbered chains (EVM) did, as far as the books know, and what the chain proves about them; and a bound
-- on what one transaction may cost.
--
-- Guarantees before any application code runs: from a sender's first nonce on the books have a row of each, without a hole; the
-- recorded count of its final transactions, and the final block it was read at, only grow; a transaction of ours that was
-- found on the chain is told from those that were signed here, and has no bytes to send.

ALTER TABLE chains
    -- The most that one transaction may cost, native raw units, whatever a node says of prices and of energy or gas. NULL: what
    -- the chain itself allows (and fees.cap on EVM chains). A USDT transfer on TRON's main network burns 14 to 60 TRX.
    ADD COLUMN fee_max raw_amount CHECK (fee_max > 0);
UPDATE chains SET fee_max = 100000000 WHERE family = 'tron' AND name = 'tron';

CREATE TABLE senders (
    chain_id integer NOT NULL REFERENCES chains (id),
    sender text NOT NULL,
    -- From here on nonces has them all; what was before is older than our books of it. NULL: not looked into yet.
    first_nonce bigint CHECK (first_nonce >= 0),
    -- The proof of death hangs on these: so many of its transactions are final, counted when final_block had been read.
    finalized bigint NOT NULL DEFAULT 0 CHECK (finalized >= 0),
    final_block bigint,
    -- The chain or a node's pool showed transactions, up to this nonce, that are in no book: nothing new is signed before
    -- the confirmation worker has found out what they did.
    unknown_below bigint,
    unknown_since timestamptz,
    -- One of them was no payment like ours: nothing new is signed before a person has looked (release_sender).
    held text,
    held_since timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, sender),
    CONSTRAINT counts_name_their_block CHECK (finalized = 0 OR final_block IS NOT NULL),
    CONSTRAINT what_is_unknown_has_a_beginning CHECK ((unknown_below IS NULL) = (unknown_since IS NULL)),
    CONSTRAINT what_is_held_has_a_beginning CHECK ((held IS NULL) = (held_since IS NULL))
);
CREATE INDEX senders_unknown ON senders (chain_id, sender) WHERE unknown_below IS NOT NULL OR held IS NOT NULL;

ALTER TABLE transfers ADD COLUMN found_on_chain boolean NOT NULL DEFAULT false;
-- What was found has happened already, whatever is asked for at that moment.
DROP INDEX transfers_one_live_per_wallet_asset_and_kind;
CREATE UNIQUE INDEX transfers_one_live_per_wallet_asset_and_kind ON transfers (wallet_id, asset_on_chain_id, kind)
    WHERE state NOT IN ('final', 'reverted', 'rejected') AND NOT found_on_chain;
CREATE INDEX transfers_live_gaps ON transfers (chain_id, from_address)
    WHERE kind = 'gap' AND state NOT IN ('final', 'reverted', 'rejected');
ALTER TABLE chain_transactions
    ADD COLUMN found_on_chain boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT only_what_was_found_has_no_bytes CHECK (found_on_chain = (signed_bytes = ''));
-- The transaction that used it, where it was none of those that its payment was signed with.
ALTER TABLE nonces ADD COLUMN used_by text;

-- From here on bytes with a nonce, which never expire, are signed and handed over to the confirmation worker in one commit.
-- What an older version signed and did not hand over may be out nevertheless, as a database can lose commits: it is followed
-- like all that is out.
WITH held_back AS (
    UPDATE chain_transactions
    SET state = 'broadcasting', first_broadcast_at = clock_timestamp()
    WHERE state = 'signed' AND nonce IS NOT NULL
    RETURNING transfer_id
), payments AS (
    UPDATE transfers SET state = 'broadcasting'
    WHERE id IN (SELECT transfer_id FROM held_back) AND state = 'signed'
    RETURNING job_id
)
UPDATE job_logs j SET awaiting_chain = true, leased_by = NULL, lease_deadline = NULL
WHERE j.status = 'active' AND NOT j.awaiting_chain AND j.id IN (SELECT job_id FROM payments);

-- A nonce is reserved in that very commit, too: none is given back any more. Those that were are filled like all gaps.
UPDATE nonces x SET state = 'released'
WHERE x.state = 'reserved'
  AND NOT EXISTS (SELECT FROM chain_transactions a
                  WHERE a.chain_id = x.chain_id AND a.sender = x.sender AND a.nonce = x.nonce);
UPDATE nonces SET state = 'void' WHERE state = 'released';
ALTER TABLE nonces
    DROP CONSTRAINT nonces_state_check,
    ADD CONSTRAINT nonces_state_check CHECK (state IN (
        'reserved',   -- of its payment, until the chain has decided
        'used',       -- by a transaction of ours in a final block
        'lost',       -- used by somebody else: proved by a final block
        'void'        -- no payment has it and the chain waits for it: to be filled by a gap, by nothing else
    )),
    DROP CONSTRAINT nonces_of_payments_name_them,
    ADD CONSTRAINT nonces_of_payments_name_them CHECK (state IN ('void', 'lost') OR transfer_id IS NOT NULL);
DROP INDEX nonces_open;
CREATE INDEX nonces_void ON nonces (chain_id, sender, nonce) WHERE state = 'void';

-- Their parameters mean something else from here on (sql/functions/nonces.sql).
DROP FUNCTION IF EXISTS reserve_nonce(bigint, bigint);
DROP FUNCTION IF EXISTS void_nonces(integer, text, bigint, bigint);

-- Of each known sender the last run without a hole.
INSERT INTO senders (chain_id, sender, first_nonce)
SELECT DISTINCT ON (run.chain_id, run.sender) run.chain_id, run.sender, run.first_nonce
FROM (
    SELECT x.chain_id, x.sender, min(x.nonce) AS first_nonce
    FROM (
        SELECT n.chain_id, n.sender, n.nonce,
               n.nonce - row_number() OVER (PARTITION BY n.chain_id, n.sender ORDER BY n.nonce) AS island
        FROM nonces n
    ) x
    GROUP BY x.chain_id, x.sender, x.island
) run
ORDER BY run.chain_id, run.sender, run.first_nonce DESC;

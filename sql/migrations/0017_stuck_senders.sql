-- Senders that stand still (EVM), where everybody sees it, and a person's way out; tokens that arrive a unit or two short.
--
-- Guarantees before any application code runs: a sender that is stuck says why and since when; what a person vouched for
-- has its time; a tolerance is too small for a fee to hide in.

ALTER TABLE senders
    -- It is looked into without end, or its first payment in line is in no block, for longer than its chain's bound, or what used
    -- a nonce of it cannot be explained: why, and what to do. Written and taken back by the confirmation worker; what is new
    -- is not signed behind a line that stands still.
    ADD COLUMN stuck text,
    ADD COLUMN stuck_since timestamptz,
    -- These nonces are used at a final block (or full of what a pool holds), and what by is for a person to judge: exactly those
    -- that `stuck` names, and none in between.
    ADD COLUMN unexplained int8multirange,
    -- A person has judged those (release_sender), at that time: what is not explained of them is nothing of ours. It says nothing of
    -- other nonces, of no payment that was sent later, and of no doubt that arose later.
    ADD COLUMN released int8multirange,
    ADD COLUMN released_at timestamptz,
    ADD CONSTRAINT what_is_stuck_has_a_beginning CHECK ((stuck IS NULL) = (stuck_since IS NULL)),
    ADD CONSTRAINT what_is_unexplained_is_stuck CHECK (unexplained IS NULL OR (stuck IS NOT NULL AND NOT isempty(unexplained))),
    ADD CONSTRAINT what_is_released_has_its_time CHECK ((released IS NULL) = (released_at IS NULL));
DROP INDEX senders_unknown;
CREATE INDEX senders_unknown ON senders (chain_id, sender)
    WHERE unknown_below IS NOT NULL OR held IS NOT NULL OR stuck IS NOT NULL;

-- Tokens that are kept as shares (stETH and its like) move by whole shares, and arrive 1 or 2 raw units short. Such a transfer
-- counts as made; 0 for all others. A token that takes a fee takes a ten-thousandth at the least: it cannot hide in ten
-- units that are no millionth of the smallest payment.
ALTER TABLE asset_on_chain
    ADD COLUMN transfer_tolerance raw_amount NOT NULL DEFAULT 0,
    ADD CONSTRAINT a_tolerance_is_ten_units_at_the_most CHECK (transfer_tolerance <= 10),
    ADD CONSTRAINT a_tolerance_is_a_millionth_at_the_most CHECK (
        transfer_tolerance = 0 OR (consolidate_execute_min IS NOT NULL
                                   AND transfer_tolerance * 1000000 <= consolidate_execute_min));

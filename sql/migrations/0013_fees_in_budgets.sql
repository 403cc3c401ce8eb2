-- Budgets of gas count fees, and no fee is without a bound.
--
-- Guarantees before any application code runs: each chain has a fee_max; each payment that is asked for names the most that
-- its transaction may cost (transfers.fee_reserved), which the gas budgets count together with its amount from that moment on
-- (triggers/gas_budgets.sql); what payments really cost is known by chain, kind and hour, so that a fee far above it can be
-- refused (triggers/fees_paid.sql).

ALTER TABLE chains
    -- A top-up is worth at least so many times its own fee: less than that is never sent, more is sent instead.
    ADD COLUMN topup_fee_multiple numeric NOT NULL DEFAULT 3
        CONSTRAINT topups_are_worth_their_fee CHECK (topup_fee_multiple BETWEEN 1 AND 1000),
    -- A transaction may cost so many times what payments of its kind cost on average in the last 24 hours; a 400th of fee_max
    -- counts as usual in any case.
    ADD COLUMN fee_rise_max numeric NOT NULL DEFAULT 20
        CONSTRAINT fees_rise_within_bounds CHECK (fee_rise_max BETWEEN 2 AND 1000000);

-- Where nobody has set a bound, no transaction may cost more than the largest top-up: what costs more could not be paid for by
-- one. BSC: 0.005 BNB, a token transfer at 60 gwei. Ethereum: 0.02 ETH, one at 250 gwei. Rows that name none get the same
-- (triggers/chain_fee_max.sql).
UPDATE chains SET fee_max = gas_max_per_topup WHERE fee_max IS NULL;
ALTER TABLE chains ALTER COLUMN fee_max SET NOT NULL;

ALTER TABLE transfers
    -- Native raw units. NULL: asked for by an older version, or found on the chain; budgets count what those have paid.
    ADD COLUMN fee_reserved raw_amount;

-- Fees of top-ups and of nonces that are filled: reserved, or capped by what is signed, until the chain has said what was paid.
ALTER TABLE gas_spending ADD COLUMN fees raw_amount NOT NULL DEFAULT 0;

-- What settled payments have cost, by chain, kind and hour (UTC). Kept by triggers/fees_paid.sql alone.
CREATE TABLE fees_paid (
    chain_id integer NOT NULL REFERENCES chains (id),
    kind text NOT NULL,
    hour timestamptz NOT NULL,
    payments bigint NOT NULL,
    fees raw_amount NOT NULL,                                -- native raw units, all of them together
    highest raw_amount NOT NULL,                             -- of one payment
    PRIMARY KEY (chain_id, kind, hour)
) WITH (fillfactor = 50);

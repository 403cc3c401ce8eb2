-- Gas is sent only within the chain's budgets, whoever asks for it: once per wallet and cooldown (FP001), at most so much
-- per top-up, per wallet and day, per day, and in all (FP002). Budgets count amount and fee together, for a top-up and for a
-- gap: what the fee may be, as it is reserved with the payment and capped by what is asked to be signed (a replacement
-- counts what it adds), until the chain has said what it was. gas_max_per_topup bounds the amount alone; the fee of one
-- transaction has its own bound, fee_max.
--
-- A top-up is worth at least chains.topup_fee_multiple times its own fee (FP002): a node that calls every wallet one wei short
-- would otherwise have the gas wallet pay fees for nothing.
--
-- A rejected payment gives its share back; an expired one keeps it, because it may be signed anew. One that was found on the
-- chain is counted, whatever the limits say.
--
-- Payments of a chain are counted one after the other (lock_gas, until commit), so that two at the same moment cannot both take
-- the last of a budget. A day is the last 24 whole hours and the hour that runs; what was spent ahead of that, while the clock was
-- wrong, counts in all and bars nobody until then. On violation constraint_name is the limit's column in chains; DETAIL of FP001 is
-- the time of the next possible top-up (ISO 8601).

-- Counts a payment in the hour in which it was asked for.
CREATE OR REPLACE FUNCTION count_gas(payment transfers) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO gas_spending AS g (chain_id, hour, topups, amount, fees)
    VALUES (payment.chain_id, date_trunc('hour', payment.created_at, 'UTC'), CASE payment.kind WHEN 'gas' THEN 1 ELSE 0 END,
            payment.amount, coalesce(payment.fee_reserved, 0))
    ON CONFLICT (chain_id, hour) DO UPDATE SET
        topups = g.topups + excluded.topups, amount = g.amount + excluded.amount, fees = g.fees + excluded.fees
$$;

-- Corrects what was counted in an hour. Never below zero: to end a payment is not refused for a count that somebody changed.
CREATE OR REPLACE FUNCTION recount_gas(p_chain_id integer, p_hour timestamptz, p_topups integer, p_amount numeric, p_fee numeric)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO gas_spending AS g (chain_id, hour, topups, amount, fees)
    VALUES (p_chain_id, p_hour, greatest(0, p_topups), greatest(0, p_amount), greatest(0, p_fee))
    ON CONFLICT (chain_id, hour) DO UPDATE SET
        topups = greatest(0, g.topups + p_topups), amount = greatest(0, g.amount + p_amount), fees = greatest(0, g.fees + p_fee)
$$;

-- The fee that budgets count of a payment that has not settled: what was reserved, or more where a signature was asked for that may
-- cost more. 0 for one that was found on the chain: its fee is counted as it settles. What was refused counts until then.
CREATE OR REPLACE FUNCTION counted_fee(payment transfers, without_request uuid DEFAULT NULL) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN payment.fee_reserved IS NULL THEN 0 ELSE greatest(payment.fee_reserved, share_of_fee(payment, (
        SELECT max(r.fee_cap) FROM signing_requests r
        WHERE r.bundle_id = payment.bundle_id AND r.request_id IS DISTINCT FROM without_request))) END
$$;

-- The same by the hours in which it was counted: what was reserved as the payment was asked for, and what its transactions may cost
-- beyond that as their signatures were asked for, which may be days later.
CREATE OR REPLACE FUNCTION counted_fees(payment transfers) RETURNS TABLE (hour timestamptz, fee numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT c.hour, sum(c.fee)
    FROM (
        SELECT date_trunc('hour', payment.created_at, 'UTC') AS hour, payment.fee_reserved::numeric AS fee
        UNION ALL
        SELECT date_trunc('hour', a.created_at, 'UTC'), greatest(0, a.fee - greatest(payment.fee_reserved, a.before))
        FROM (
            SELECT x.created_at, x.fee,
                   max(x.fee) OVER (ORDER BY x.created_at, x.request_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM (SELECT r.created_at, r.request_id, share_of_fee(payment, r.fee_cap) AS fee
                    FROM signing_requests r WHERE r.bundle_id = payment.bundle_id) x
        ) a
    ) c
    WHERE payment.fee_reserved IS NOT NULL
    GROUP BY c.hour
$$;

-- Raises FP002 where spending `more` for a payment now (`at`), of which `already` is counted for the day, would pass a limit of
-- the chain. Run under lock_gas.
CREATE OR REPLACE FUNCTION check_spending(payment transfers, at timestamptz, already numeric, more numeric) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
    first_hour timestamptz := date_trunc('hour', at - interval '24 hours', 'UTC');
    wallet_day numeric;
    day numeric;
    total numeric;
    over_limit text;
    spent numeric;
    allowed numeric;
BEGIN
    SELECT * INTO STRICT rules FROM chains c WHERE c.id = payment.chain_id;
    SELECT already + coalesce(sum(t.amount + coalesce(t.fee_paid, counted_fee(t))), 0) INTO wallet_day FROM transfers t
    WHERE t.wallet_id = payment.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> payment.id
      AND t.created_at > at - interval '24 hours' AND t.created_at < at + interval '1 minute';
    SELECT coalesce(sum(g.amount + g.fees) FILTER (WHERE g.hour >= first_hour
                                                     AND g.hour <= at + interval '1 hour'), 0),
           coalesce(sum(g.amount + g.fees), 0)
    INTO day, total
    FROM gas_spending g
    WHERE g.chain_id = payment.chain_id AND (rules.gas_max_total IS NOT NULL OR g.hour >= first_hour);

    SELECT l.name, l.already, l.most INTO over_limit, spent, allowed
    FROM (VALUES
        ('gas_max_per_wallet_day', wallet_day, rules.gas_max_per_wallet_day::numeric),
        ('gas_max_per_day', day, rules.gas_max_per_day::numeric),
        ('gas_max_total', total, rules.gas_max_total::numeric)
    ) AS l (name, already, most)
    WHERE l.already + more > l.most
    LIMIT 1;
    IF over_limit IS NOT NULL THEN
        RAISE EXCEPTION 'gas for % refused: %, its fee included, on top of % would pass % = % on chain %',
            CASE payment.kind WHEN 'gas' THEN format('wallet %s', payment.to_address)
                              ELSE format('a nonce of %s', payment.from_address) END,
            more, spent, over_limit, allowed, rules.name
        USING ERRCODE = 'FP002', CONSTRAINT = over_limit, TABLE = 'transfers',
              HINT = format('Raise chains.%s if this is meant to be.', over_limit);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION check_gas_budgets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
    previous timestamptz;
    wrong text;
    broken text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'gas budgets cannot be checked at isolation level %', current_setting('transaction_isolation') USING
            ERRCODE = 'feature_not_supported', HINT = 'Insert gas transfers at read committed.';
    END IF;
    PERFORM lock_gas(NEW.chain_id);
    IF NEW.found_on_chain THEN
        PERFORM count_gas(NEW);
        RETURN NULL;
    END IF;
    IF NEW.fee_reserved IS NULL THEN
        RAISE EXCEPTION 'a % payment names the most that its transaction may cost', NEW.kind USING
            ERRCODE = 'not_null_violation', COLUMN = 'fee_reserved', TABLE = 'transfers';
    END IF;
    SELECT * INTO STRICT rules FROM chains c WHERE c.id = NEW.chain_id;

    IF NEW.kind = 'gas' THEN
        SELECT max(t.created_at) INTO previous FROM transfers t
        WHERE t.wallet_id = NEW.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> NEW.id
          AND t.created_at > NEW.created_at - rules.gas_cooldown AND t.created_at < NEW.created_at + interval '1 minute';
        IF previous IS NOT NULL THEN
            RAISE EXCEPTION 'wallet % had a gas top-up at %: the next one is possible from % on (gas_cooldown %)',
                NEW.to_address, date_trunc('second', previous), date_trunc('second', previous + rules.gas_cooldown),
                rules.gas_cooldown
            USING ERRCODE = 'FP001', DETAIL = to_json(previous + rules.gas_cooldown) #>> '{}',
                  CONSTRAINT = 'gas_cooldown', TABLE = 'transfers';
        END IF;

        SELECT l.name, l.said INTO broken, wrong
        FROM (VALUES
            ('gas_max_per_topup', NEW.amount > rules.gas_max_per_topup,
                format('%s would pass gas_max_per_topup = %s', NEW.amount, rules.gas_max_per_topup)),
            ('topup_fee_multiple', NEW.amount < NEW.fee_reserved * rules.topup_fee_multiple,
                format('%s is worth less than topup_fee_multiple = %s times its fee of %s',
                       NEW.amount, rules.topup_fee_multiple, NEW.fee_reserved))
        ) AS l (name, is_broken, said)
        WHERE l.is_broken
        LIMIT 1;
        IF broken IS NOT NULL THEN
            RAISE EXCEPTION 'gas for wallet % refused: % on chain %', NEW.to_address, wrong, rules.name
            USING ERRCODE = 'FP002', CONSTRAINT = broken, TABLE = 'transfers',
                  HINT = format('Change chains.%s if this is meant to be.', broken);
        END IF;
    END IF;

    PERFORM check_spending(NEW, NEW.created_at, 0, NEW.amount + NEW.fee_reserved);
    PERFORM count_gas(NEW);
    RETURN NULL;
END
$$;

-- A transaction that may cost more than was reserved, or a replacement that offers more: the difference is counted as of now,
-- however old the payment is, and refused where a budget does not allow it.
CREATE OR REPLACE FUNCTION check_gas_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    payment transfers;
    counted numeric;
    more numeric;
BEGIN
    FOR payment IN SELECT t.* FROM transfers t WHERE t.bundle_id = NEW.bundle_id ORDER BY t.id LOOP
        CONTINUE WHEN payment.kind NOT IN ('gas', 'gap') OR payment.fee_reserved IS NULL;
        counted := counted_fee(payment, NEW.request_id);
        more := share_of_fee(payment, NEW.fee_cap) - counted;
        IF more > 0 THEN
            PERFORM lock_gas(NEW.chain_id);
            PERFORM check_spending(
                payment, NEW.created_at,
                CASE WHEN payment.created_at > NEW.created_at - interval '24 hours' THEN payment.amount + counted ELSE 0 END, more);
            PERFORM recount_gas(NEW.chain_id, date_trunc('hour', NEW.created_at, 'UTC'), 0, 0, more);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- A payment that was given up has spent nothing; of one that the chain has decided the fee is known.
CREATE OR REPLACE FUNCTION settle_gas_budget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    asked_at timestamptz := date_trunc('hour', NEW.created_at, 'UTC');
    paid numeric := 0;
    counted record;
BEGIN
    IF NEW.state = 'rejected' THEN
        PERFORM recount_gas(NEW.chain_id, asked_at, CASE NEW.kind WHEN 'gas' THEN -1 ELSE 0 END, -NEW.amount, 0);
    ELSE
        paid := coalesce(NEW.fee_paid, 0);
    END IF;
    -- The fee stays counted where it was counted first, as far as it goes.
    FOR counted IN SELECT f.hour, f.fee FROM counted_fees(NEW) f ORDER BY f.hour LOOP
        PERFORM recount_gas(NEW.chain_id, counted.hour, 0, 0, least(counted.fee, paid) - counted.fee);
        paid := greatest(0, paid - counted.fee);
    END LOOP;
    IF paid > 0 THEN
        PERFORM recount_gas(NEW.chain_id, asked_at, 0, 0, paid);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER gas_budgets AFTER INSERT ON transfers
FOR EACH ROW WHEN (NEW.kind IN ('gas', 'gap')) EXECUTE FUNCTION check_gas_budgets();

CREATE OR REPLACE TRIGGER gas_budgets_request AFTER INSERT ON signing_requests
FOR EACH ROW EXECUTE FUNCTION check_gas_request();

CREATE OR REPLACE TRIGGER gas_budgets_settled AFTER UPDATE ON transfers
FOR EACH ROW WHEN (NEW.kind IN ('gas', 'gap') AND NEW.state IN ('rejected', 'final', 'reverted')
                   AND OLD.state NOT IN ('rejected', 'final', 'reverted'))
EXECUTE FUNCTION settle_gas_budget();

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
-- Statements of a chain are counted one after the other (lock_gas, until commit), so that two at the same moment cannot both take
-- the last of a budget; within one the payments are counted in the order of their ids, and the refusal names the first that is too
-- much. A day is the last 24 whole hours and the hour that runs; what was spent ahead of that, while the clock was wrong, counts in
-- all and bars nobody until then. On violation constraint_name is the limit's column in chains; DETAIL of FP001 is the time of the
-- next possible top-up (ISO 8601).

-- Counts spendings, or corrects what was counted, by chain and hour. Never below zero: to end a payment is not refused for a count
-- that somebody changed.
CREATE OR REPLACE FUNCTION count_gas(
    p_chain_ids integer[], p_hours timestamptz[], p_topups bigint[], p_amounts numeric[], p_fees numeric[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO gas_spending (chain_id, hour, topups, amount)
    SELECT DISTINCT c.chain_id, c.hour, 0, 0 FROM unnest(p_chain_ids, p_hours) AS c (chain_id, hour)
    ORDER BY c.chain_id, c.hour
    ON CONFLICT (chain_id, hour) DO NOTHING;
    PERFORM FROM gas_spending g
    WHERE (g.chain_id, g.hour) IN (SELECT c.chain_id, c.hour FROM unnest(p_chain_ids, p_hours) AS c (chain_id, hour))
    ORDER BY g.chain_id, g.hour
    FOR NO KEY UPDATE;
    UPDATE gas_spending g SET
        topups = greatest(0, g.topups + c.topups), amount = greatest(0, g.amount + c.amount), fees = greatest(0, g.fees + c.fees)
    FROM (
        SELECT x.chain_id, x.hour, sum(x.topups) AS topups, sum(x.amount) AS amount, sum(x.fee) AS fees
        FROM unnest(p_chain_ids, p_hours, p_topups, p_amounts, p_fees) AS x (chain_id, hour, topups, amount, fee)
        GROUP BY x.chain_id, x.hour
    ) c
    WHERE g.chain_id = c.chain_id AND g.hour = c.hour AND (c.topups, c.amount, c.fees) <> (0, 0, 0);
END
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

-- The same of several by the hours in which it was counted: what was reserved as a payment was asked for, and what its transactions
-- may cost beyond that as their signatures were asked for, which may be days later.
CREATE OR REPLACE FUNCTION counted_fees(p_transfer_ids bigint[]) RETURNS TABLE (transfer_id bigint, hour timestamptz, fee numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT c.id, c.hour, sum(c.fee)
    FROM (
        SELECT t.id, date_trunc('hour', t.created_at, 'UTC') AS hour, t.fee_reserved::numeric AS fee
        FROM transfers t WHERE t.id = ANY (p_transfer_ids) AND t.fee_reserved IS NOT NULL
        UNION ALL
        SELECT a.id, date_trunc('hour', a.created_at, 'UTC'), greatest(0, a.fee - greatest(a.fee_reserved, a.before))
        FROM (
            SELECT x.*, max(x.fee) OVER (PARTITION BY x.id ORDER BY x.created_at, x.request_id
                                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM (
                SELECT t.id, t.fee_reserved, r.created_at, r.request_id,
                       CASE WHEN shared.payments = 1 THEN r.fee_cap ELSE share_of_fee(t, r.fee_cap) END AS fee
                FROM transfers t
                CROSS JOIN LATERAL (SELECT count(*) AS payments FROM transfers o WHERE o.bundle_id = t.bundle_id OFFSET 0) shared
                CROSS JOIN LATERAL (SELECT * FROM signing_requests s WHERE s.bundle_id = t.bundle_id OFFSET 0) r
                WHERE t.id = ANY (p_transfer_ids) AND t.fee_reserved IS NOT NULL
            ) x
        ) a
    ) c
    GROUP BY c.id, c.hour
$$;

-- Raises FP002 where spending `p_more` for payments of a chain now (`p_at`), one after the other, of which `p_already` is counted for
-- the day, would pass a limit of the chain. The arrays run in parallel. Run under lock_gas.
CREATE OR REPLACE FUNCTION check_spending(
    p_chain_id integer, p_at timestamptz, p_transfer_ids bigint[], p_already numeric[], p_more numeric[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
    first_hour timestamptz := date_trunc('hour', p_at - interval '24 hours', 'UTC');
    day numeric;
    total numeric;
    over_limit record;
BEGIN
    SELECT * INTO STRICT rules FROM chains c WHERE c.id = p_chain_id;
    SELECT coalesce(sum(g.amount + g.fees) FILTER (WHERE g.hour >= first_hour AND g.hour <= p_at + interval '1 hour'), 0),
           coalesce(sum(g.amount + g.fees), 0)
    INTO day, total
    FROM gas_spending g
    WHERE g.chain_id = p_chain_id AND (rules.gas_max_total IS NOT NULL OR g.hour >= first_hour);

    SELECT a.kind, a.to_address, a.from_address, a.more, l.name, l.spent, l.most INTO over_limit
    FROM (
        SELECT t.*, asked.already, asked.more, asked.number,
               sum(asked.more) OVER (ORDER BY asked.number) - asked.more AS just_before
        FROM unnest(p_transfer_ids, p_already, p_more) WITH ORDINALITY AS asked (transfer_id, already, more, number)
        CROSS JOIN LATERAL (SELECT * FROM transfers x WHERE x.id = asked.transfer_id OFFSET 0) t
    ) a
    CROSS JOIN LATERAL (
        SELECT a.already + coalesce(sum(t.amount + coalesce(t.fee_paid, counted_fee(t))), 0) AS spent FROM transfers t
        WHERE t.wallet_id = a.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> a.id
          AND t.created_at > p_at - interval '24 hours' AND t.created_at < p_at + interval '1 minute'
    ) wallet_day
    CROSS JOIN LATERAL (VALUES
        (1, 'gas_max_per_wallet_day', wallet_day.spent, rules.gas_max_per_wallet_day::numeric),
        (2, 'gas_max_per_day', day + a.just_before, rules.gas_max_per_day::numeric),
        (3, 'gas_max_total', total + a.just_before, rules.gas_max_total::numeric)
    ) AS l (number, name, spent, most)
    WHERE l.spent + a.more > l.most
    ORDER BY a.number, l.number
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'gas for % refused: %, its fee included, on top of % would pass % = % on chain %',
            CASE over_limit.kind WHEN 'gas' THEN format('wallet %s', over_limit.to_address)
                                 ELSE format('a nonce of %s', over_limit.from_address) END,
            over_limit.more, over_limit.spent, over_limit.name, over_limit.most, rules.name
        USING ERRCODE = 'FP002', CONSTRAINT = over_limit.name, TABLE = 'transfers',
              HINT = format('Raise chains.%s if this is meant to be.', over_limit.name);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION check_gas_budgets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    of_chain integer;
    rules chains;
    wrong record;
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows n WHERE n.kind IN ('gas', 'gap')) THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'gas budgets cannot be checked at isolation level %', current_setting('transaction_isolation') USING
            ERRCODE = 'feature_not_supported', HINT = 'Insert gas transfers at read committed.';
    END IF;
    FOR of_chain IN SELECT DISTINCT n.chain_id FROM new_rows n WHERE n.kind IN ('gas', 'gap') ORDER BY n.chain_id LOOP
        -- The limits as they are once nobody else is counted.
        PERFORM lock_gas(of_chain);
        SELECT * INTO STRICT rules FROM chains c WHERE c.id = of_chain;
        SELECT n.kind INTO wrong FROM new_rows n
        WHERE n.chain_id = rules.id AND n.kind IN ('gas', 'gap') AND NOT n.found_on_chain AND n.fee_reserved IS NULL
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'a % payment names the most that its transaction may cost', wrong.kind USING
                ERRCODE = 'not_null_violation', COLUMN = 'fee_reserved', TABLE = 'transfers';
        END IF;

        SELECT n.to_address, previous.at INTO wrong
        FROM new_rows n
        CROSS JOIN LATERAL (
            SELECT max(t.created_at) AS at FROM transfers t
            WHERE t.wallet_id = n.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> n.id
              AND t.created_at > n.created_at - rules.gas_cooldown AND t.created_at < n.created_at + interval '1 minute'
        ) previous
        WHERE n.chain_id = rules.id AND n.kind = 'gas' AND NOT n.found_on_chain AND previous.at IS NOT NULL
        ORDER BY n.id
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'wallet % had a gas top-up at %: the next one is possible from % on (gas_cooldown %)',
                wrong.to_address, date_trunc('second', wrong.at), date_trunc('second', wrong.at + rules.gas_cooldown),
                rules.gas_cooldown
            USING ERRCODE = 'FP001', DETAIL = to_json(wrong.at + rules.gas_cooldown) #>> '{}',
                  CONSTRAINT = 'gas_cooldown', TABLE = 'transfers';
        END IF;

        SELECT n.to_address, l.name, l.said INTO wrong
        FROM new_rows n
        CROSS JOIN LATERAL (VALUES
            (1, 'gas_max_per_topup', n.amount > rules.gas_max_per_topup,
                format('%s would pass gas_max_per_topup = %s', n.amount, rules.gas_max_per_topup)),
            (2, 'topup_fee_multiple', n.amount < n.fee_reserved * rules.topup_fee_multiple,
                format('%s is worth less than topup_fee_multiple = %s times its fee of %s',
                       n.amount, rules.topup_fee_multiple, n.fee_reserved))
        ) AS l (number, name, is_broken, said)
        WHERE n.chain_id = rules.id AND n.kind = 'gas' AND NOT n.found_on_chain AND l.is_broken
        ORDER BY n.id, l.number
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'gas for wallet % refused: % on chain %', wrong.to_address, wrong.said, rules.name
            USING ERRCODE = 'FP002', CONSTRAINT = wrong.name, TABLE = 'transfers',
                  HINT = format('Change chains.%s if this is meant to be.', wrong.name);
        END IF;

        PERFORM check_spending(rules.id, max(n.created_at), array_agg(n.id ORDER BY n.id), array_agg(0::numeric),
                               array_agg(n.amount + n.fee_reserved ORDER BY n.id))
        FROM new_rows n
        WHERE n.chain_id = rules.id AND n.kind IN ('gas', 'gap') AND NOT n.found_on_chain
        HAVING count(*) > 0;
    END LOOP;
    PERFORM count_gas(
        array_agg(n.chain_id), array_agg(date_trunc('hour', n.created_at, 'UTC')),
        array_agg(CASE n.kind WHEN 'gas' THEN 1::bigint ELSE 0 END), array_agg(n.amount::numeric),
        array_agg(coalesce(n.fee_reserved, 0)::numeric))
    FROM new_rows n WHERE n.kind IN ('gas', 'gap');
    RETURN NULL;
END
$$;

-- Transactions that may cost more than was reserved, or replacements that offer more: the difference is counted as of now,
-- however old the payment is, and refused where a budget does not allow it.
CREATE OR REPLACE FUNCTION check_gas_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    raised record;
BEGIN
    FOR raised IN
        SELECT r.chain_id, max(r.created_at) AS at, array_agg(r.id ORDER BY r.id) AS ids,
               array_agg(CASE WHEN r.paid_at > r.created_at - interval '24 hours' THEN r.amount + r.counted ELSE 0 END
                         ORDER BY r.id) AS already,
               array_agg(r.fee - r.counted ORDER BY r.id) AS more,
               array_agg(date_trunc('hour', r.created_at, 'UTC') ORDER BY r.id) AS hours
        FROM (
            SELECT n.chain_id, n.created_at, t.id, t.amount, t.created_at AS paid_at,
                   CASE WHEN shared.payments = 1 THEN n.fee_cap::numeric ELSE share_of_fee(t, n.fee_cap) END AS fee,
                   CASE WHEN shared.requests = 1 THEN t.fee_reserved::numeric ELSE counted_fee(t, n.request_id) END AS counted
            FROM new_rows n
            CROSS JOIN LATERAL (SELECT * FROM transfers x WHERE x.bundle_id = n.bundle_id OFFSET 0) t
            CROSS JOIN LATERAL (
                SELECT (SELECT count(*) FROM transfers x WHERE x.bundle_id = n.bundle_id) AS payments,
                       (SELECT count(*) FROM signing_requests x WHERE x.bundle_id = n.bundle_id) AS requests
                OFFSET 0
            ) shared
            WHERE t.kind IN ('gas', 'gap') AND t.fee_reserved IS NOT NULL
        ) r
        WHERE r.fee > r.counted
        GROUP BY r.chain_id
        ORDER BY r.chain_id
    LOOP
        PERFORM lock_gas(raised.chain_id);
        PERFORM check_spending(raised.chain_id, raised.at, raised.ids, raised.already, raised.more);
        PERFORM count_gas(array_fill(raised.chain_id, none.of), raised.hours, array_fill(0::bigint, none.of),
                          array_fill(0::numeric, none.of), raised.more)
        FROM (SELECT ARRAY[cardinality(raised.ids)]) AS none (of);
    END LOOP;
    RETURN NULL;
END
$$;

-- A payment that was given up has spent nothing; of one that the chain has decided the fee is known, and stays counted where it was
-- counted first, as far as it goes.
CREATE OR REPLACE FUNCTION settle_gas_budget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    settled bigint[] := ARRAY(
        SELECT n.id FROM (
            SELECT id, chain_id FROM new_rows WHERE kind IN ('gas', 'gap') AND state IN ('rejected', 'final', 'reverted')
            EXCEPT
            SELECT id, chain_id FROM old_rows WHERE state IN ('rejected', 'final', 'reverted')
        ) n
    );
BEGIN
    IF cardinality(settled) = 0 THEN
        RETURN NULL;
    END IF;
    PERFORM count_gas(array_agg(c.chain_id), array_agg(c.hour), array_agg(c.topups), array_agg(c.amount), array_agg(c.fee))
    FROM (
        WITH payments AS (
            SELECT t.id, t.chain_id, t.kind, t.amount::numeric AS amount, t.state,
                   date_trunc('hour', t.created_at, 'UTC') AS asked_at,
                   CASE t.state WHEN 'rejected' THEN 0 ELSE coalesce(t.fee_paid, 0)::numeric END AS paid
            FROM transfers t WHERE t.id = ANY (settled)
        ), counted AS (
            SELECT f.transfer_id, f.hour, f.fee,
                   coalesce(sum(f.fee) OVER (PARTITION BY f.transfer_id ORDER BY f.hour
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
            FROM counted_fees(settled) f
        )
        SELECT p.chain_id, p.asked_at AS hour, CASE p.kind WHEN 'gas' THEN -1::bigint ELSE 0 END AS topups, -p.amount AS amount,
               0::numeric AS fee
        FROM payments p WHERE p.state = 'rejected'
        UNION ALL
        SELECT p.chain_id, k.hour, 0, 0, least(k.fee, greatest(0, p.paid - k.before)) - k.fee
        FROM payments p JOIN counted k ON k.transfer_id = p.id
        UNION ALL
        SELECT p.chain_id, p.asked_at, 0, 0,
               greatest(0, p.paid - coalesce((SELECT sum(k.fee) FROM counted k WHERE k.transfer_id = p.id), 0))
        FROM payments p
    ) c;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER gas_budgets AFTER INSERT ON transfers
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_gas_budgets();

CREATE OR REPLACE TRIGGER gas_budgets_request AFTER INSERT ON signing_requests
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_gas_request();

CREATE OR REPLACE TRIGGER gas_budgets_settled AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION settle_gas_budget();

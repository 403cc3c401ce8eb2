-- The fees of payments are added up by chain, kind and hour as they settle, and no signature is asked for far more than that:
-- at most chains.fee_rise_max times the average of the last 24 hours (FP008). So whoever names prices, a node that lies or
-- somebody who edits chains.fees, cannot make a payment cost many times what the chain charged until now.
--
-- On TRON what a transaction could have cost is added up, where that is more: staked or rented energy lets payments cost nothing,
-- and the next one without it would be refused. No bytes make the chain charge more for energy than its own price.
--
-- A 400th of chains.fee_max counts as usual in any case; the first 10 payments of a kind in 24 hours are not compared. The way out
-- of a price that really rose is chains.fee_rise_max.

CREATE OR REPLACE FUNCTION add_up_fees() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO fees_paid AS known (chain_id, kind, hour, payments, fees, highest)
    SELECT s.chain_id, s.kind, date_trunc('hour', now(), 'UTC'), count(*), sum(f.fee), max(f.fee)
    FROM (
        SELECT n.id, n.chain_id, n.kind, n.fee_paid, n.bundle_id FROM new_rows n
        WHERE n.state IN ('final', 'reverted') AND n.fee_paid IS NOT NULL
        EXCEPT
        SELECT o.id, o.chain_id, o.kind, o.fee_paid, o.bundle_id FROM old_rows o WHERE o.state IN ('final', 'reverted')
    ) s
    JOIN chains c ON c.id = s.chain_id
    CROSS JOIN LATERAL (
        SELECT CASE c.family WHEN 'tron' THEN greatest(s.fee_paid, (
            SELECT share_of_fee(t, max(a.fee_cap)) FROM transfers t
            JOIN chain_transactions a ON a.bundle_id = t.bundle_id AND a.state IN ('final', 'reverted') AND NOT a.found_on_chain
            WHERE t.id = s.id
            GROUP BY t.id))
        ELSE s.fee_paid END::numeric AS fee
    ) f
    GROUP BY s.chain_id, s.kind
    ORDER BY s.chain_id, s.kind
    ON CONFLICT (chain_id, kind, hour) DO UPDATE SET
        payments = known.payments + excluded.payments,
        fees = known.fees + excluded.fees,
        highest = greatest(known.highest, excluded.highest);
    RETURN NULL;
END
$$;

-- What a payment of this kind cost (TRON: could have cost) on average in the last 24 whole hours and the hour that runs, native
-- raw units; NULL while fewer than 10 have settled.
CREATE OR REPLACE FUNCTION usual_fee(p_chain_id integer, p_kind text) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN sum(f.payments) >= 10 THEN sum(f.fees) / sum(f.payments) END
    FROM fees_paid f
    WHERE f.chain_id = p_chain_id AND f.kind = p_kind
      AND f.hour >= date_trunc('hour', now() - interval '24 hours', 'UTC') AND f.hour <= now()
$$;

CREATE OR REPLACE FUNCTION refuse_unusual_fee() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
    of_kind text;
    carried bigint;
    usual numeric;
    base numeric;
BEGIN
    SELECT * INTO rules FROM chains c WHERE c.id = NEW.chain_id;
    IF NEW.fee_cap <= rules.fee_max / 400 * rules.fee_rise_max THEN
        RETURN NEW;
    END IF;
    SELECT min(t.kind), count(*) INTO of_kind, carried FROM transfers t WHERE t.bundle_id = NEW.bundle_id;
    usual := usual_fee(NEW.chain_id, of_kind) * carried;
    base := CASE WHEN usual IS NOT NULL THEN greatest(usual, rules.fee_max / 400) END;
    IF NEW.fee_cap > base * rules.fee_rise_max THEN
        RAISE EXCEPTION 'the transaction of bundle % could cost %: the last payments of kind % on chain % cost % on average',
            NEW.bundle_id, NEW.fee_cap, of_kind, rules.name, round(usual)
        USING ERRCODE = 'FP008', CONSTRAINT = 'fee_rise_max', TABLE = 'signing_requests',
              HINT = format('If fees really rose so far: flagpost config set %s.fee_rise_max %s', rules.name,
                            ceil(NEW.fee_cap / base) + 1);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER fees_paid AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION add_up_fees();

CREATE OR REPLACE TRIGGER fees_usual BEFORE INSERT ON signing_requests
FOR EACH ROW EXECUTE FUNCTION refuse_unusual_fee();

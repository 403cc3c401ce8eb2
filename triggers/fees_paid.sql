-- What payments cost is added up by chain, kind and hour as they settle, and no transaction is signed for far more than that:
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
        SELECT n.id, n.chain_id, n.kind, n.fee_paid FROM new_rows n
        WHERE n.state IN ('final', 'reverted') AND n.fee_paid IS NOT NULL
        EXCEPT
        SELECT o.id, o.chain_id, o.kind, o.fee_paid FROM old_rows o WHERE o.state IN ('final', 'reverted')
    ) s
    JOIN chains c ON c.id = s.chain_id
    CROSS JOIN LATERAL (
        SELECT CASE c.family WHEN 'tron' THEN greatest(s.fee_paid, (
            SELECT max(a.fee_cap) FROM chain_transactions a
            WHERE a.transfer_id = s.id AND a.state IN ('final', 'reverted') AND NOT a.found_on_chain))
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
    usual numeric;
    base numeric;
BEGIN
    SELECT * INTO rules FROM chains c WHERE c.id = NEW.chain_id;
    IF NEW.fee_cap <= rules.fee_max / 400 * rules.fee_rise_max THEN
        RETURN NEW;
    END IF;
    SELECT t.kind INTO of_kind FROM transfers t WHERE t.id = NEW.transfer_id;
    usual := usual_fee(NEW.chain_id, of_kind);
    base := CASE WHEN usual IS NOT NULL THEN greatest(usual, rules.fee_max / 400) END;
    IF NEW.fee_cap > base * rules.fee_rise_max THEN
        RAISE EXCEPTION 'transaction % of transfer % could cost %: the last payments of kind % on chain % cost % on average',
            NEW.txid, NEW.transfer_id, NEW.fee_cap, of_kind, rules.name, round(usual)
        USING ERRCODE = 'FP008', CONSTRAINT = 'fee_rise_max', TABLE = 'chain_transactions',
              HINT = format('If fees really rose so far: flagpost config set %s.fee_rise_max %s', rules.name,
                            ceil(NEW.fee_cap / base) + 1);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER fees_paid AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION add_up_fees();

CREATE OR REPLACE TRIGGER fees_usual BEFORE INSERT ON chain_transactions
FOR EACH ROW WHEN (NOT NEW.found_on_chain) EXECUTE FUNCTION refuse_unusual_fee();

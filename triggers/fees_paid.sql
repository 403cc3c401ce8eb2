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
            SELECT CASE WHEN shared.payments = 1 THEN a.fee_cap ELSE share_of_fee(t, a.fee_cap) END
            FROM transfers t
            CROSS JOIN LATERAL (
                SELECT max(x.fee_cap) AS fee_cap FROM chain_transactions x
                WHERE x.bundle_id = t.bundle_id AND x.state IN ('final', 'reverted') AND NOT x.found_on_chain) a
            CROSS JOIN LATERAL (SELECT count(*) AS payments FROM transfers o WHERE o.bundle_id = t.bundle_id) shared
            WHERE t.id = s.id))
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
    bad record;
BEGIN
    SELECT high.*, base.fee AS base, usual.fee AS usual INTO bad
    FROM (
        SELECT n.bundle_id, n.fee_cap, n.created_at, c.id AS chain_id, c.name, c.fee_max, c.fee_rise_max, carried.kind, carried.payments
        FROM new_rows n
        JOIN chains c ON c.id = n.chain_id
        CROSS JOIN LATERAL (
            SELECT min(t.kind) AS kind, count(*) AS payments FROM transfers t WHERE t.bundle_id = n.bundle_id OFFSET 0) carried
        WHERE n.fee_cap > c.fee_max / 400 * c.fee_rise_max
    ) high
    JOIN (
        SELECT k.chain_id, k.kind, usual_fee(k.chain_id, k.kind) AS fee
        FROM (SELECT DISTINCT n.chain_id, t.kind FROM new_rows n JOIN transfers t ON t.bundle_id = n.bundle_id) k
    ) of_kind ON of_kind.chain_id = high.chain_id AND of_kind.kind = high.kind
    CROSS JOIN LATERAL (SELECT of_kind.fee * high.payments AS fee) usual
    CROSS JOIN LATERAL (SELECT CASE WHEN usual.fee IS NOT NULL THEN greatest(usual.fee, high.fee_max / 400) END AS fee) base
    WHERE high.fee_cap > base.fee * high.fee_rise_max
    ORDER BY high.created_at
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the transaction of bundle % could cost %: the last payments of kind % on chain % cost % on average',
            bad.bundle_id, bad.fee_cap, bad.kind, bad.name, round(bad.usual)
        USING ERRCODE = 'FP008', CONSTRAINT = 'fee_rise_max', TABLE = 'signing_requests',
              HINT = format('If fees really rose so far: flagpost config set %s.fee_rise_max %s', bad.name,
                            ceil(bad.fee_cap / bad.base) + 1);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER fees_paid AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION add_up_fees();

CREATE OR REPLACE TRIGGER fees_usual AFTER INSERT ON signing_requests
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_unusual_fee();

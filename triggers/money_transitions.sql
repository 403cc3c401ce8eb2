-- The state of a transfer and of a signed attempt moves only along state_transitions, and a transfer never ends, nor is called
-- dead, while an attempt of it may still land or has ended otherwise: it would be decided and paid again. Nor is one given up while
-- a signature is asked for it, which may have been given; and a request is refused by who asked for it only as long as nothing was
-- signed. One that nobody has signed is included only by a transaction that was found on the chain. What a
-- replacement was asked for is settled with its payment: its nonce is used.

CREATE OR REPLACE FUNCTION check_money_transitions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    of_subject text := TG_ARGV[0];
    bad record;
BEGIN
    -- A full join, because it is hashed whatever number of rows the plan was made for (see balance_flags.sql).
    SELECT o.id, o.state AS from_state, n.state AS to_state INTO bad
    FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
    WHERE o.state IS DISTINCT FROM n.state
      AND NOT EXISTS (
          SELECT FROM state_transitions t
          WHERE t.subject = of_subject AND t.from_state = o.state AND t.to_state = n.state)
    LIMIT 1;

    IF FOUND THEN
        RAISE EXCEPTION '% % is % and cannot become %', replace(of_subject, '_', ' '), bad.id, bad.from_state, bad.to_state USING
            ERRCODE = 'FP003',
            HINT = coalesce((SELECT format('From %s it may become %s.', bad.from_state,
                                           string_agg(t.to_state, ', ' ORDER BY t.to_state))
                             FROM state_transitions t WHERE t.subject = of_subject AND t.from_state = bad.from_state),
                            'It is settled: money needs a new decision, in a new job.');
    END IF;
    RETURN NULL;
END
$$;

-- After the statement, because a payment and its attempts are settled, expired and rejected in one.
CREATE OR REPLACE FUNCTION check_ended_transfers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    ended bigint[] := ARRAY(
        SELECT n.id FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
        WHERE n.state <> o.state AND n.state IN ('final', 'reverted', 'expired', 'rejected')
    );
    bad record;
BEGIN
    IF cardinality(ended) = 0 THEN
        RETURN NULL;
    END IF;
    SELECT t.id, t.state, a.attempt, a.state AS attempt_state INTO bad
    FROM transfers t
    JOIN chain_transactions a ON a.bundle_id = t.bundle_id
    WHERE t.id = ANY (ended)
      AND (a.state IN ('broadcasting', 'included')
           OR (a.state = 'reverted' AND t.state <> 'reverted')
           -- Of the payments of a transaction some may have no effect.
           OR (a.state = 'final' AND t.state <> 'final'
               AND (t.state <> 'reverted' OR NOT EXISTS (
                   SELECT FROM transfers other WHERE other.bundle_id = t.bundle_id AND other.state = 'final'))))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % cannot become %: its attempt % is %', bad.id, bad.state, bad.attempt, bad.attempt_state USING
            ERRCODE = 'FP003',
            HINT = 'A payment ends with its attempts. The confirmation worker finds out what became of them; see that it runs.';
    END IF;
    SELECT t.id, r.request_id INTO bad
    FROM new_rows t
    JOIN signing_requests r ON r.bundle_id = t.bundle_id
    WHERE t.id = ANY (ended) AND t.state = 'rejected' AND r.state = 'asked'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % cannot become rejected: a signature is asked for it (%), and may have been given',
            bad.id, bad.request_id USING
            ERRCODE = 'FP003',
            HINT = 'Who has the keys asks the signer, and gives it up or sends it; see that gas-topup and consolidation run.';
    END IF;
    -- Of replacements: the nonce that they ask for is used.
    UPDATE signing_requests r SET state = 'refused', refusal = format('its payment is %s', t.state)
    FROM new_rows t
    WHERE t.id = ANY (ended) AND t.state IN ('final', 'reverted', 'expired') AND r.bundle_id = t.bundle_id AND r.state = 'asked';
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION refuse_unfound_transfer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM chain_transactions a
                   WHERE a.bundle_id = NEW.bundle_id AND a.found_on_chain AND a.state = 'included') THEN
        RAISE EXCEPTION 'transfer % is % and cannot become included: nothing was signed for it, nor found on the chain',
            OLD.id, OLD.state USING ERRCODE = 'FP003';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER money_found AFTER UPDATE ON transfers
FOR EACH ROW WHEN (OLD.state = 'requested' AND NEW.state = 'included') EXECUTE FUNCTION refuse_unfound_transfer();

CREATE OR REPLACE TRIGGER money_ends AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_ended_transfers();

CREATE OR REPLACE TRIGGER money_transitions AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_money_transitions('transfer');

CREATE OR REPLACE TRIGGER money_transitions AFTER UPDATE ON chain_transactions
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_money_transitions('chain_transaction');

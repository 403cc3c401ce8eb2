-- The state of a transfer and of a signed attempt moves only along state_transitions, and a transfer never ends, nor is
-- called dead, while an attempt of it may still land or has ended otherwise: it would be decided and paid again. One that
-- nobody has signed is included only by a transaction that was found on the chain. And no attempt goes out without its payment:
-- that one's job could not end any more, and whoever ends or rescues jobs would be refused all of them.

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

-- After the statement, because a payment and its attempts are settled, buried and given up in one.
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
    JOIN chain_transactions a ON a.transfer_id = t.id
    WHERE t.id = ANY (ended)
      AND (a.state IN ('signed', 'broadcasting', 'included') OR (a.state IN ('final', 'reverted') AND a.state <> t.state))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % cannot become %: its attempt % is %', bad.id, bad.state, bad.attempt, bad.attempt_state USING
            ERRCODE = 'FP003',
            HINT = 'A payment ends with its attempts. The confirmation worker finds out what became of them; see that it runs.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION refuse_unfound_transfer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM chain_transactions a
                   WHERE a.transfer_id = NEW.id AND a.found_on_chain AND a.state = 'included') THEN
        RAISE EXCEPTION 'transfer % is % and cannot become included: nothing was signed for it, nor found on the chain',
            OLD.id, OLD.state USING ERRCODE = 'FP003';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION refuse_attempt_alone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    payment text := (SELECT t.state FROM transfers t WHERE t.id = NEW.transfer_id);
BEGIN
    IF payment NOT IN ('broadcasting', 'included') THEN
        RAISE EXCEPTION 'chain_transaction % cannot become broadcasting: its transfer % is %', NEW.id, NEW.transfer_id, payment USING
            ERRCODE = 'FP003',
            HINT = 'Payment, attempt and job pass to the confirmation worker together (sql/queries/payments/send/begin_broadcast.sql).';
    END IF;
    RETURN NULL;
END
$$;

-- After the statement, which hands over both.
CREATE OR REPLACE TRIGGER money_goes_out AFTER UPDATE ON chain_transactions
FOR EACH ROW WHEN (OLD.state = 'signed' AND NEW.state = 'broadcasting') EXECUTE FUNCTION refuse_attempt_alone();

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

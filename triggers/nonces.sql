-- A nonce goes with its payment: used when that is settled, lost when it was proved dead, released when it was given up with
-- nothing signed, void when bytes with it exist that were given up: whoever says otherwise than payment and attempts is
-- refused. No nonce becomes another one, changes against state_transitions, or goes to a payment of another chain or
-- sender; a void one only to a gap.

CREATE OR REPLACE FUNCTION move_nonces() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved bigint[] := ARRAY(
        SELECT n.id FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.state <> o.state AND n.state IN ('final', 'reverted', 'expired', 'rejected')
    );
BEGIN
    IF cardinality(moved) = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE nonces x
    SET state = CASE
            WHEN n.state IN ('final', 'reverted') THEN 'used'
            WHEN n.state = 'expired' THEN 'lost'
            WHEN EXISTS (SELECT FROM chain_transactions a
                         WHERE a.chain_id = x.chain_id AND a.sender = x.sender AND a.nonce = x.nonce) THEN 'void'
            ELSE 'released' END
    FROM new_rows n
    JOIN old_rows o ON o.id = n.id
    WHERE n.id = ANY (moved) AND x.transfer_id = n.id AND x.state = 'reserved';
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION check_nonce() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    was text := CASE TG_OP WHEN 'INSERT' THEN '(new)' ELSE OLD.state END;
    wrong text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.created_at := clock_timestamp();
    ELSE
        IF (OLD.id, OLD.chain_id, OLD.sender, OLD.nonce, OLD.created_at)
            IS DISTINCT FROM (NEW.id, NEW.chain_id, NEW.sender, NEW.nonce, NEW.created_at)
           OR (OLD.transfer_id IS DISTINCT FROM NEW.transfer_id AND NOT (NEW.state = 'reserved' AND OLD.state <> 'reserved')) THEN
            RAISE EXCEPTION 'nonce % of % cannot become another one, or another payment''s', OLD.nonce, OLD.sender USING
                ERRCODE = 'FP004',
                HINT = 'Only a released or void nonce goes to another payment.';
        END IF;
    END IF;
    IF was <> NEW.state AND NOT EXISTS (
        SELECT FROM state_transitions t
        WHERE t.subject = 'nonce' AND t.from_state = was AND t.to_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'nonce % of % is % and cannot become %', NEW.nonce, NEW.sender, was, NEW.state USING
            ERRCODE = 'FP003',
            HINT = 'A used or lost nonce stays so: the chain has decided.';
    END IF;
    IF was <> NEW.state THEN
        SELECT CASE
            WHEN was = 'reserved' AND NOT CASE NEW.state
                WHEN 'used' THEN t.state IN ('final', 'reverted')
                WHEN 'lost' THEN t.state = 'expired'
                WHEN 'released' THEN t.state IN ('requested', 'expired', 'rejected')
                ELSE t.state = 'rejected' END
            THEN format('transfer %s has it and is %s', t.id, t.state)
            WHEN signed.states && CASE
                WHEN NEW.state = 'released' OR (NEW.state = 'reserved' AND was <> 'void')
                THEN '{signed,broadcasting,included,final,reverted,replaced,expired,rejected}'
                WHEN NEW.state = 'used' THEN '{signed,broadcasting,included}'
                WHEN NEW.state = 'lost' THEN '{signed,broadcasting,included,final,reverted}'
                ELSE '{signed,broadcasting,included,final,reverted,replaced,expired}' END::text[]
            THEN format('transactions with it are %s', array_to_string(signed.states, ', '))
        END INTO wrong
        FROM (
            SELECT ARRAY(SELECT DISTINCT a.state FROM chain_transactions a
                         WHERE a.chain_id = NEW.chain_id AND a.sender = NEW.sender AND a.nonce = NEW.nonce) AS states) signed
        LEFT JOIN transfers t ON t.id = NEW.transfer_id;
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION 'nonce % of % cannot become %: %', NEW.nonce, NEW.sender, NEW.state, wrong USING
                ERRCODE = 'FP003',
                HINT = 'A nonce goes with its payment, and to nobody else once bytes exist with it.';
        END IF;
    END IF;
    IF NEW.state = 'reserved' AND was <> 'reserved' THEN
        SELECT CASE
            WHEN t.id IS NULL THEN 'there is no such payment'
            WHEN t.chain_id <> NEW.chain_id OR t.from_address <> NEW.sender THEN 'it is of another chain or sender'
            WHEN t.state NOT IN ('requested', 'expired') THEN format('it is %s', t.state)
            WHEN was = 'void' AND t.kind <> 'gap' THEN 'only a gap fills a nonce that bytes were signed with'
        END INTO wrong
        FROM (SELECT 1) AS here
        LEFT JOIN transfers t ON t.id = NEW.transfer_id;
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION 'nonce % of % refused to transfer %: %', NEW.nonce, NEW.sender, NEW.transfer_id, wrong USING
                ERRCODE = 'FP004';
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER nonces AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION move_nonces();

CREATE OR REPLACE TRIGGER nonces_checked BEFORE INSERT OR UPDATE ON nonces
FOR EACH ROW EXECUTE FUNCTION check_nonce();

CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON nonces
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON nonces
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();

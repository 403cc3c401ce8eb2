-- A nonce goes with its payment: used when that is settled, lost when it was proved dead or found used by a stranger; whoever
-- says otherwise than payment, attempts and the recorded count of the sender is refused. No nonce becomes another one,
-- leaves one out, changes against state_transitions, or goes to a payment of another chain or sender; a void one only to
-- a gap, or to a payment that was found on the chain, and a lost one only to the latter. None is reserved but in the
-- commit that keeps bytes with it, so that later payments of the sender never wait behind one that nobody has signed. The
-- proof of what used it, once it counts, stays as it is.

CREATE OR REPLACE FUNCTION move_nonces() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved bigint[] := ARRAY(
        SELECT n.id FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE n.state <> o.state AND n.state IN ('final', 'reverted', 'expired')
    );
BEGIN
    IF cardinality(moved) = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE nonces x
    SET state = CASE WHEN n.state = 'expired' THEN 'lost' ELSE 'used' END
    FROM new_rows n
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
    line senders;
    payment transfers;
    wrong text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.created_at := clock_timestamp();
    ELSIF (OLD.id, OLD.chain_id, OLD.sender, OLD.nonce, OLD.created_at)
            IS DISTINCT FROM (NEW.id, NEW.chain_id, NEW.sender, NEW.nonce, NEW.created_at)
          OR (OLD.transfer_id IS DISTINCT FROM NEW.transfer_id AND NOT (NEW.state = 'reserved' AND OLD.state <> 'reserved')) THEN
        RAISE EXCEPTION 'nonce % of % cannot become another one, or another payment''s', OLD.nonce, OLD.sender USING
            ERRCODE = 'FP004',
            HINT = 'A void one goes to a gap, and what was found on the chain takes the one it used.';
    END IF;
    IF was = NEW.state THEN
        IF (OLD.state IN ('lost', 'used') AND (OLD.used_by, OLD.lost_at_block) IS DISTINCT FROM (NEW.used_by, NEW.lost_at_block))
           OR coalesce(NEW.lost_at_block, -1) < OLD.lost_at_block THEN
            RAISE EXCEPTION 'nonce % of % is %: what used it, and the block up to which was read, do not change',
                OLD.nonce, OLD.sender, OLD.state USING
                ERRCODE = 'FP004',
                HINT = 'The proof of what became of its payment hangs on it.';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM state_transitions t
                   WHERE t.subject = 'nonce' AND t.from_state = was AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'nonce % of % is % and cannot become %', NEW.nonce, NEW.sender, was, NEW.state USING
            ERRCODE = 'FP003',
            HINT = 'The chain has decided.';
    END IF;

    SELECT * INTO line FROM senders s WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.sender;
    SELECT * INTO payment FROM transfers t WHERE t.id = NEW.transfer_id;
    IF TG_OP = 'INSERT' THEN
        SELECT CASE
            WHEN line.first_nonce IS NULL THEN 'nobody has looked into its line'
            WHEN NEW.nonce < line.first_nonce THEN format('its line begins with %s', line.first_nonce)
            WHEN NEW.nonce > next_nonce(NEW.chain_id, NEW.sender)
            THEN format('the next is %s', next_nonce(NEW.chain_id, NEW.sender))
        END INTO wrong;
    END IF;
    IF wrong IS NULL AND NEW.state = 'reserved' THEN
        SELECT CASE
            WHEN payment.id IS NULL THEN 'there is no such payment'
            WHEN payment.chain_id <> NEW.chain_id OR payment.from_address <> NEW.sender THEN 'it is of another chain or sender'
            WHEN payment.state NOT IN ('requested', 'expired') THEN format('transfer %s is %s', payment.id, payment.state)
            WHEN was = 'void' AND payment.kind <> 'gap' AND NOT payment.found_on_chain THEN 'only a gap fills a void one'
            WHEN was = 'lost' AND NOT payment.found_on_chain THEN 'it is used on the chain'
        END INTO wrong;
    ELSIF wrong IS NULL AND NEW.state = 'lost' THEN
        SELECT CASE
            WHEN NEW.used_by IS NULL THEN 'nothing on record says what used it'
            WHEN (line.finalized > NEW.nonce) IS NOT TRUE
            THEN format('%s of its sender''s transactions are known to be final', coalesce(line.finalized, 0))
            WHEN was = 'reserved' AND payment.state <> 'expired' THEN format('transfer %s has it and is %s', payment.id, payment.state)
        END INTO wrong;
    ELSIF wrong IS NULL AND NEW.state = 'used' AND payment.state NOT IN ('final', 'reverted') THEN
        wrong := format('transfer %s has it and is %s', payment.id, payment.state);
    END IF;
    IF wrong IS NULL THEN
        SELECT format('transactions with it are %s', string_agg(DISTINCT a.state, ', ' ORDER BY a.state)) INTO wrong
        FROM chain_transactions a
        WHERE a.chain_id = NEW.chain_id AND a.sender = NEW.sender AND a.nonce = NEW.nonce
          AND (a.state IN ('signed', 'broadcasting', 'included')
               OR (a.state IN ('final', 'reverted') AND NEW.state <> 'used')
               OR (a.state <> 'rejected' AND was = '(new)')
               OR (a.state = 'rejected' AND was = '(new)' AND NEW.state = 'reserved')
               OR (a.txid = NEW.used_by AND a.state <> 'rejected' AND NEW.state = 'lost'))
        HAVING count(*) > 0;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'nonce % of % cannot become %: %', NEW.nonce, NEW.sender, NEW.state, wrong USING
            ERRCODE = CASE WHEN NEW.state = 'reserved' OR TG_OP = 'INSERT' THEN 'FP004' ELSE 'FP003' END,
            HINT = 'A nonce goes with its payment, and to nobody else once bytes exist with it.';
    END IF;
    RETURN NEW;
END
$$;

-- On commit, because the bytes name the nonce that was reserved for them.
CREATE OR REPLACE FUNCTION refuse_nonce_without_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM nonces x WHERE x.id = NEW.id AND x.state = 'reserved'
               AND NOT EXISTS (SELECT FROM chain_transactions a
                               WHERE a.chain_id = x.chain_id AND a.sender = x.sender AND a.nonce = x.nonce
                                 AND a.transfer_id = x.transfer_id)) THEN
        RAISE EXCEPTION 'nonce % of % is reserved for transfer % and nothing is signed with it',
            NEW.nonce, NEW.sender, NEW.transfer_id USING
            ERRCODE = 'FP003',
            HINT = 'Reserve it in the commit that keeps the bytes: later payments of the sender wait behind it.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER nonces AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION move_nonces();

CREATE OR REPLACE TRIGGER nonces_checked BEFORE INSERT OR UPDATE ON nonces
FOR EACH ROW EXECUTE FUNCTION check_nonce();

DROP TRIGGER IF EXISTS nonces_signed ON nonces;
CREATE CONSTRAINT TRIGGER nonces_signed AFTER INSERT OR UPDATE ON nonces
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'reserved') EXECUTE FUNCTION refuse_nonce_without_bytes();

CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON nonces
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON nonces
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();

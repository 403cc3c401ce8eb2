-- A nonce follows its bundle: used when the bundle is settled, lost when its attempts are dead because something else used it. A
-- change that contradicts payments, attempts or the recorded count of the sender's transactions is refused. So is each of these:
--
-- * another number, a number left out, a change that state_transitions does not have, a bundle of another chain or sender;
-- * a void nonce for anything but a gap or a payment found on the chain; a lost one for anything but the latter;
-- * reserving one in another commit than the one that asks for a signature with it, and keeping it reserved past the commit in
--   which that is refused: then it becomes void where later ones wait behind it, and its row is deleted where it is the last;
-- * giving one back while it may have been signed with;
-- * changing the proof of what used it, once that counts.

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
    WHERE n.id = ANY (moved) AND x.bundle_id = n.bundle_id AND x.state = 'reserved';
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
          OR (OLD.bundle_id IS DISTINCT FROM NEW.bundle_id AND NOT (NEW.state = 'reserved' AND OLD.state <> 'reserved')
              AND NOT (NEW.state = 'void' AND OLD.state = 'reserved')) THEN
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
            HINT = 'The allowed changes are the rows of state_transitions.';
    END IF;

    SELECT * INTO line FROM senders s WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.sender;
    SELECT t.* INTO payment FROM (SELECT * FROM transfers x WHERE x.bundle_id = NEW.bundle_id OFFSET 0) t ORDER BY t.id LIMIT 1;
    IF TG_OP = 'INSERT' THEN
        SELECT CASE
            WHEN line.first_nonce IS NULL THEN 'its sender has no first recorded nonce yet'
            WHEN NEW.nonce < line.first_nonce THEN format('the first one recorded of its sender is %s', line.first_nonce)
            WHEN NEW.nonce > next_nonce(NEW.chain_id, NEW.sender)
            THEN format('the next is %s', next_nonce(NEW.chain_id, NEW.sender))
        END INTO wrong;
    END IF;
    IF wrong IS NULL AND NEW.state = 'reserved' THEN
        SELECT CASE
            WHEN payment.id IS NULL THEN 'there is no such payment'
            WHEN payment.chain_id <> NEW.chain_id OR payment.from_address <> NEW.sender THEN 'it is of another chain or sender'
            WHEN payment.state NOT IN ('requested', 'expired') THEN format('transfer %s is %s', payment.id, payment.state)
            WHEN was = 'void' AND payment.kind <> 'gap' AND NOT payment.found_on_chain THEN 'only a gap uses a void one'
            WHEN was = 'lost' AND NOT payment.found_on_chain THEN 'it is used on the chain'
        END INTO wrong;
    ELSIF wrong IS NULL AND NEW.state = 'lost' THEN
        SELECT CASE
            WHEN NEW.used_by IS NULL THEN 'nothing on record says what used it'
            WHEN (line.finalized > NEW.nonce) IS NOT TRUE
            THEN format('%s of its sender''s transactions are known to be final', coalesce(line.finalized, 0))
            WHEN was = 'reserved' AND payment.state <> 'expired'
            THEN format('transfer %s has it and is %s', payment.id, payment.state)
        END INTO wrong;
    ELSIF wrong IS NULL AND NEW.state = 'void' AND was = 'reserved' THEN
        SELECT CASE
            WHEN EXISTS (SELECT FROM signing_requests r
                         WHERE r.chain_id = OLD.chain_id AND r.sender = OLD.sender AND r.nonce = OLD.nonce AND r.state = 'asked')
              OR EXISTS (SELECT FROM signing_requests r
                         WHERE r.bundle_id = OLD.bundle_id AND r.nonce = OLD.nonce AND r.state <> 'refused')
            THEN 'a signature with it is asked for, and may have been given'
            WHEN EXISTS (SELECT FROM chain_transactions a
                         WHERE a.chain_id = OLD.chain_id AND a.sender = OLD.sender AND a.nonce = OLD.nonce
                           AND a.bundle_id = OLD.bundle_id)
            THEN 'bytes were signed with it'
        END INTO wrong;
    ELSIF wrong IS NULL AND NEW.state = 'used' AND payment.state NOT IN ('final', 'reverted') THEN
        wrong := format('transfer %s has it and is %s', payment.id, payment.state);
    END IF;
    IF wrong IS NULL THEN
        SELECT format('transactions with it are %s', string_agg(DISTINCT a.state, ', ' ORDER BY a.state)) INTO wrong
        FROM chain_transactions a
        WHERE a.chain_id = NEW.chain_id AND a.sender = NEW.sender AND a.nonce = NEW.nonce
          AND (a.state IN ('broadcasting', 'included')
               OR (a.state IN ('final', 'reverted') AND NEW.state <> 'used')
               OR was = '(new)'
               OR (a.txid = NEW.used_by AND NEW.state = 'lost'))
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

-- On commit, because the request names the nonce that was reserved for it, and gives it back after it is refused.
CREATE OR REPLACE FUNCTION refuse_nonce_without_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    alone nonces;
BEGIN
    SELECT x.* INTO alone FROM nonces x
    WHERE x.bundle_id = NEW.bundle_id AND x.state = 'reserved'
      AND NOT EXISTS (SELECT FROM signing_requests r
                      WHERE r.bundle_id = x.bundle_id AND r.nonce = x.nonce AND r.state <> 'refused')
      AND NOT EXISTS (SELECT FROM chain_transactions a
                      WHERE a.chain_id = x.chain_id AND a.sender = x.sender AND a.nonce = x.nonce
                        AND a.bundle_id = x.bundle_id);
    IF FOUND THEN
        RAISE EXCEPTION 'nonce % of % is reserved for bundle % and no signature is asked for with it',
            alone.nonce, alone.sender, alone.bundle_id USING
            ERRCODE = 'FP003',
            HINT = 'It is reserved in the commit that asks for the signature, and given back in the one that refuses it: later '
                   'payments of the sender wait behind it.';
    END IF;
    RETURN NULL;
END
$$;

-- Nothing was ever signed with it, and no later one is handed out: the next payment takes it.
CREATE OR REPLACE FUNCTION refuse_forgotten_nonce() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    SELECT CASE
        WHEN OLD.state <> 'reserved' THEN format('it is %s', OLD.state)
        WHEN EXISTS (SELECT FROM nonces later
                     WHERE later.chain_id = OLD.chain_id AND later.sender = OLD.sender AND later.nonce > OLD.nonce)
        THEN 'later ones wait for it'
        WHEN EXISTS (SELECT FROM signing_requests r
                     WHERE r.chain_id = OLD.chain_id AND r.sender = OLD.sender AND r.nonce = OLD.nonce AND r.state <> 'refused')
        THEN 'a signature with it is asked for, or was given'
        WHEN EXISTS (SELECT FROM chain_transactions a
                     WHERE a.chain_id = OLD.chain_id AND a.sender = OLD.sender AND a.nonce = OLD.nonce)
        THEN 'there are transactions with it'
    END INTO wrong;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'nonce % of % is not given back: %', OLD.nonce, OLD.sender, wrong USING
            ERRCODE = 'FP004',
            HINT = 'Records of money are what proves that nothing is paid twice.';
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER nonces AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION move_nonces();

CREATE OR REPLACE TRIGGER nonces_checked BEFORE INSERT OR UPDATE ON nonces
FOR EACH ROW EXECUTE FUNCTION check_nonce();

DROP TRIGGER IF EXISTS nonces_asked ON nonces;
CREATE CONSTRAINT TRIGGER nonces_asked AFTER INSERT OR UPDATE ON nonces
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'reserved') EXECUTE FUNCTION refuse_nonce_without_request();

DROP TRIGGER IF EXISTS nonces_asked ON signing_requests;
CREATE CONSTRAINT TRIGGER nonces_asked AFTER UPDATE ON signing_requests
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'refused' AND NEW.nonce IS NOT NULL) EXECUTE FUNCTION refuse_nonce_without_request();

CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON nonces
FOR EACH ROW EXECUTE FUNCTION refuse_forgotten_nonce();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON nonces
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();

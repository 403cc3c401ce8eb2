-- Handing out nonces.
--
-- Guarantees: one at a time per chain and sender (lock_sender), so that no two payments ever get the same;
-- always the next after all that the books know, and none while the chain shows transactions of the sender that they do
-- not know: those may be payments of a database that lost its last commits (SQLSTATE FP005), or of somebody else who has the
-- key (FP006); and none behind a line that stands still (FP011).

-- Serializes whoever changes the nonces of a sender; held until commit. A row of its own and not that of senders, which others
-- write in transactions that hold jobs.
CREATE OR REPLACE FUNCTION lock_sender(p_chain_id integer, p_sender text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT lock_row(format('nonces of %s on chain %s', p_sender, p_chain_id)) $$;

-- The nonce after all that the books know of a sender; NULL: its line was never looked into.
CREATE OR REPLACE FUNCTION next_nonce(p_chain_id integer, p_sender text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT max(n.nonce) + 1 FROM nonces n WHERE n.chain_id = p_chain_id AND n.sender = p_sender),
        (SELECT s.first_nonce FROM senders s WHERE s.chain_id = p_chain_id AND s.sender = p_sender))
$$;

-- Reserves the next nonce for an unsigned payment, in the commit that keeps the bytes signed with it. `p_counted` is how many
-- transactions of the sender a node showed in blocks or in its pool before this transaction began: all of ours among them
-- were in the books before they were sent. A node that is behind does no harm. NULL: the payment is in no state to be signed.
CREATE OR REPLACE FUNCTION reserve_nonce(p_transfer_id bigint, p_counted bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    payment transfers;
    line senders;
    reserved bigint;
BEGIN
    SELECT * INTO payment FROM transfers t
    WHERE t.id = p_transfer_id AND t.state IN ('requested', 'expired') AND t.kind <> 'gap' AND NOT t.found_on_chain;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM lock_sender(payment.chain_id, payment.from_address);
    IF p_counted = 0 THEN
        INSERT INTO senders (chain_id, sender, first_nonce) VALUES (payment.chain_id, payment.from_address, 0)
        ON CONFLICT (chain_id, sender) DO NOTHING;
    END IF;
    SELECT * INTO line FROM senders s WHERE s.chain_id = payment.chain_id AND s.sender = payment.from_address;
    reserved := next_nonce(payment.chain_id, payment.from_address);

    IF line.held IS NOT NULL THEN
        RAISE EXCEPTION 'sender % is held since %: %', line.sender, date_trunc('second', line.held_since), line.held USING
            ERRCODE = 'FP006',
            HINT = 'Look at what it did; then: SELECT release_sender(chain, sender).';
    ELSIF line.stuck IS NOT NULL AND line.unexplained IS NULL THEN
        RAISE EXCEPTION 'sender % is stuck since %: %', line.sender, date_trunc('second', line.stuck_since), line.stuck USING
            ERRCODE = 'FP011',
            HINT = 'What is signed now would wait behind it. When its line moves, this goes on by itself.';
    ELSIF reserved >= greatest(p_counted, line.unknown_below) AND line.unknown_below IS NOT NULL THEN
        RAISE EXCEPTION 'sender % has transactions that the books did not know: those below nonce % are still looked into',
            payment.from_address, line.unknown_below USING
            ERRCODE = 'FP005',
            HINT = 'The confirmation worker finds out what they did; nothing new is signed before.';
    ELSIF reserved IS NULL OR line.unknown_below IS NOT NULL OR p_counted > reserved THEN
        RAISE EXCEPTION 'sender % has transactions that the books do not know: a node counts %, known are %',
            payment.from_address, greatest(p_counted, line.unknown_below), coalesce(reserved::text, 'none') USING
            ERRCODE = 'FP005',
            HINT = 'The confirmation worker finds out what they did; nothing new is signed before.';
    END IF;
    INSERT INTO nonces (chain_id, sender, nonce, transfer_id)
    VALUES (payment.chain_id, payment.from_address, reserved, payment.id);
    RETURN reserved;
END
$$;
REVOKE ALL ON FUNCTION reserve_nonce(bigint, bigint) FROM PUBLIC;

-- Gives a void nonce to the gap that fills it, under the sender's lock. NULL: it is not void any more.
CREATE OR REPLACE FUNCTION reserve_gap(p_nonce_id bigint, p_transfer_id bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE nonces x SET state = 'reserved', transfer_id = p_transfer_id
    WHERE x.id = p_nonce_id AND x.state = 'void'
    RETURNING x.nonce
$$;
REVOKE ALL ON FUNCTION reserve_gap(bigint, bigint) FROM PUBLIC;

-- Declares the next nonces of a sender, up to `p_last`, void: gaps are to fill them. Returns how many are void that were not.
CREATE OR REPLACE FUNCTION void_nonces(p_chain_id integer, p_sender text, p_last bigint) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    voided integer;
BEGIN
    PERFORM lock_sender(p_chain_id, p_sender);
    INSERT INTO nonces (chain_id, sender, nonce, state)
    SELECT p_chain_id, p_sender, n, 'void' FROM generate_series(next_nonce(p_chain_id, p_sender), p_last) AS n;
    GET DIAGNOSTICS voided = ROW_COUNT;
    RETURN voided;
END
$$;

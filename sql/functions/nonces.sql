-- Reserving nonces, giving them back, and declaring them void.
--
-- Guarantees: one at a time per chain and sender (lock_sender), so that no two payments ever get the same;
-- always the next after all that are recorded, and none while the chain shows transactions of the sender that are not
-- recorded: those may be payments of a database that lost its last commits (SQLSTATE FP005), or of somebody else who has the
-- key (FP006); none behind a nonce queue that is stuck (FP011); and none while another one is reserved whose transaction is not
-- signed and that no worker follows (FP013): whoever pays next finishes it first, as all later ones wait behind it.

-- Serializes whoever changes the nonces of a sender; held until commit. A row of its own and not that of senders, which others
-- write in transactions that hold jobs.
CREATE OR REPLACE FUNCTION lock_sender(p_chain_id integer, p_sender text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT lock_row(format('nonces of %s on chain %s', p_sender, p_chain_id)) $$;

-- The nonce after all that are recorded of a sender; NULL: its transactions were never counted.
CREATE OR REPLACE FUNCTION next_nonce(p_chain_id integer, p_sender text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT max(n.nonce) + 1 FROM nonces n WHERE n.chain_id = p_chain_id AND n.sender = p_sender),
        (SELECT s.first_nonce FROM senders s WHERE s.chain_id = p_chain_id AND s.sender = p_sender))
$$;

-- Reserves the next nonces for bundles whose payments are asked for, in their order, in the commit that asks for their signatures.
-- `p_counted` is, for each, how many transactions of its sender a node showed in blocks or in its mempool before this transaction began:
-- all of ours among them were recorded before they were sent. A node that is behind does no harm. A bundle whose payments are in no
-- state to be signed is left out.
CREATE OR REPLACE FUNCTION reserve_nonces(p_bundle_ids bigint[], p_counted bigint[]) RETURNS TABLE (bundle_id bigint, nonce bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wanted record;
    line senders;
    unfinished bigint;
    reserved bigint;
BEGIN
    FOR wanted IN
        SELECT b.chain_id, b.sender, max(a.counted) AS counted, array_agg(b.id ORDER BY a.place) AS bundle_ids
        FROM unnest(p_bundle_ids, p_counted) WITH ORDINALITY AS a (id, counted, place)
        JOIN bundles b ON b.id = a.id
        WHERE EXISTS (SELECT FROM transfers t WHERE t.bundle_id = b.id)
          AND NOT EXISTS (SELECT FROM transfers t
                          WHERE t.bundle_id = b.id AND (t.state <> 'requested' OR t.kind = 'gap' OR t.found_on_chain))
        GROUP BY b.chain_id, b.sender
        ORDER BY b.chain_id, b.sender
    LOOP
        PERFORM lock_sender(wanted.chain_id, wanted.sender);
        IF wanted.counted = 0 THEN
            INSERT INTO senders (chain_id, sender, first_nonce) VALUES (wanted.chain_id, wanted.sender, 0)
            ON CONFLICT (chain_id, sender) DO NOTHING;
        END IF;
        SELECT * INTO line FROM senders s WHERE s.chain_id = wanted.chain_id AND s.sender = wanted.sender;
        SELECT min(r.nonce) INTO unfinished FROM signing_requests r
        WHERE r.chain_id = wanted.chain_id AND r.sender = wanted.sender AND r.state = 'asked' AND r.replaces IS NULL
          AND is_abandoned(r, interval '2 seconds')
          AND NOT EXISTS (SELECT FROM transfers other JOIN transfers own ON own.job_id = other.job_id
                          WHERE other.bundle_id = r.bundle_id AND own.bundle_id = wanted.bundle_ids[1]);
        reserved := next_nonce(wanted.chain_id, wanted.sender);

        IF line.frozen IS NOT NULL THEN
            RAISE EXCEPTION 'sender % has been frozen since %: %', line.sender, date_trunc('second', line.frozen_since), line.frozen USING
                ERRCODE = 'FP006',
                HINT = 'Check on a block explorer what it did; then: flagpost senders release CHAIN SENDER';
        ELSIF line.stuck IS NOT NULL AND line.unexplained IS NULL THEN
            RAISE EXCEPTION 'sender % has been stuck since %: %', line.sender, date_trunc('second', line.stuck_since), line.stuck USING
                ERRCODE = 'FP011',
                HINT = 'What is signed now would wait behind it. Once its first transaction is in a block, this goes on by itself.';
        ELSIF unfinished IS NOT NULL THEN
            RAISE EXCEPTION 'nonce % of % is reserved and its transaction is not signed yet: that comes first',
                unfinished, wanted.sender USING
                ERRCODE = 'FP013',
                HINT = 'gas-topup or consolidation asks for its signature again; flagpost doctor says why that fails.';
        ELSIF reserved >= greatest(wanted.counted, line.unknown_below) AND line.unknown_below IS NOT NULL THEN
            RAISE EXCEPTION 'sender % had unrecorded transactions: those below nonce % are still being reconciled',
                wanted.sender, line.unknown_below USING
                ERRCODE = 'FP005',
                HINT = 'The confirmation worker reconciles them; nothing new is signed before.';
        ELSIF reserved IS NULL OR line.unknown_below IS NOT NULL OR wanted.counted > reserved THEN
            RAISE EXCEPTION 'sender % has unrecorded transactions: a node counts %, recorded are %',
                wanted.sender, greatest(wanted.counted, line.unknown_below), coalesce(reserved::text, 'none') USING
                ERRCODE = 'FP005',
                HINT = 'The confirmation worker reconciles them; nothing new is signed before.';
        END IF;
        RETURN QUERY
        INSERT INTO nonces AS x (chain_id, sender, nonce, bundle_id)
        SELECT wanted.chain_id, wanted.sender, reserved + place - 1, id
        FROM unnest(wanted.bundle_ids) WITH ORDINALITY AS own (id, place)
        ORDER BY place
        RETURNING x.bundle_id, x.nonce;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION reserve_nonces(bigint[], bigint[]) FROM PUBLIC;

-- The same for one bundle, as processes of the version before call it while an installation is upgraded. NULL: it is not to be signed.
CREATE OR REPLACE FUNCTION reserve_nonce(p_bundle_id bigint, p_counted bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT (SELECT r.nonce FROM reserve_nonces(ARRAY[p_bundle_id], ARRAY[p_counted]) r) $$;
REVOKE ALL ON FUNCTION reserve_nonce(bigint, bigint) FROM PUBLIC;

-- Gives back the nonce of a bundle for which nothing was ever signed, in the commit that refuses its request: forgotten where
-- no later one is handed out, so that the next payment takes it; else void, so that a gap fills it. What a gap was to fill is void
-- again. NULL: none is reserved for it. triggers/nonces.sql has the last word.
CREATE OR REPLACE FUNCTION give_back_nonce(p_bundle_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    given nonces;
    is_gap boolean := EXISTS (SELECT FROM transfers t WHERE t.bundle_id = p_bundle_id AND t.kind = 'gap');
BEGIN
    PERFORM lock_sender(b.chain_id, b.sender) FROM bundles b WHERE b.id = p_bundle_id;
    SELECT * INTO given FROM nonces x WHERE x.bundle_id = p_bundle_id AND x.state = 'reserved';
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF is_gap OR EXISTS (SELECT FROM nonces later
                            WHERE later.chain_id = given.chain_id AND later.sender = given.sender AND later.nonce > given.nonce) THEN
        UPDATE nonces x SET state = 'void', bundle_id = NULL WHERE x.id = given.id;
    ELSE
        DELETE FROM nonces x WHERE x.id = given.id;
    END IF;
    RETURN given.nonce;
END
$$;
REVOKE ALL ON FUNCTION give_back_nonce(bigint) FROM PUBLIC;

-- Gives a void nonce to the gap that fills it, under the sender's lock. NULL: it is not void any more.
CREATE OR REPLACE FUNCTION reserve_gap(p_nonce_id bigint, p_bundle_id bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE nonces x SET state = 'reserved', bundle_id = p_bundle_id
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

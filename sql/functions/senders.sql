-- What is said of senders on numbered chains (EVM), by processes and by people.

-- A node showed `p_counted` transactions of a sender, more than the books know (or of a nonce that is to be filled): the
-- confirmation worker is notified and looks into it, and nothing new of that sender is signed before it has. Whoever says so
-- wrongly costs time and no money. False: no payment of that sender is under way.
CREATE OR REPLACE FUNCTION doubt_sender(p_chain_id integer, p_sender text, p_counted bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM senders s WHERE s.chain_id = p_chain_id AND s.sender = p_sender)
       AND NOT EXISTS (SELECT FROM transfers t
                       WHERE t.chain_id = p_chain_id AND t.from_address = p_sender
                         AND t.state NOT IN ('final', 'reverted', 'rejected')) THEN
        RETURN false;
    END IF;
    INSERT INTO senders AS s (chain_id, sender, unknown_below, unknown_since)
    VALUES (p_chain_id, p_sender, p_counted, clock_timestamp())
    ON CONFLICT (chain_id, sender) DO UPDATE
    SET unknown_below = greatest(s.unknown_below, excluded.unknown_below),
        unknown_since = coalesce(s.unknown_since, excluded.unknown_since);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION doubt_sender(integer, text, bigint) FROM PUBLIC;

-- Nothing new of a sender is signed until a person has looked. A hold that is there already keeps its time.
CREATE OR REPLACE FUNCTION hold_sender(p_chain_id integer, p_sender text, p_reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE senders s SET held = concat_ws('; ', s.held, p_reason), held_since = coalesce(s.held_since, clock_timestamp())
    WHERE s.chain_id = p_chain_id AND s.sender = p_sender AND position(p_reason IN coalesce(s.held, '')) = 0
$$;
REVOKE ALL ON FUNCTION hold_sender(integer, text, text) FROM PUBLIC;

-- Which nonces of a sender are in doubt while what it did below `p_unknown_below` is looked into: those that are to be filled, and
-- those after all that the books know. Never one that a payment has, which its own proof decides. Where there are none of
-- these, the next one, if no payment has it.
CREATE OR REPLACE FUNCTION nonces_in_doubt(p_chain_id integer, p_sender text, p_unknown_below bigint) RETURNS int8multirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE
        WHEN NOT isempty(doubted.nonces) THEN doubted.nonces
        WHEN NOT EXISTS (SELECT FROM nonces n
                         WHERE n.chain_id = p_chain_id AND n.sender = p_sender AND n.nonce = p_unknown_below)
        THEN int8multirange(int8range(p_unknown_below, p_unknown_below, '[]'))
    END
    FROM (SELECT coalesce((SELECT range_agg(int8range(n.nonce, n.nonce, '[]')) FROM nonces n
                           WHERE n.chain_id = p_chain_id AND n.sender = p_sender AND n.state = 'void'
                             AND n.nonce < p_unknown_below), '{}')
                 + int8multirange(int8range(
                     least(coalesce(next_nonce(p_chain_id, p_sender), 0), p_unknown_below), p_unknown_below)) AS nonces) doubted
$$;

-- For people: what the sender did outside the books, or what nobody can find out about it, is understood, and it may pay again.
-- Works in every state in which a sender stands still: held; stuck; looked into for ten minutes without an end. Of nonces
-- that are used and not explained, the person says that it was by nothing of ours: payments that have them are then decided anew,
-- so look at a block explorer first. With `last_nonce`, the highest that the person has looked at, it says nothing of higher ones
-- that came to it meanwhile. Writes admin_actions, for `admin` (auth.users.id) where one is
-- named. Returns what was said of the sender; raises for a chain that is none and for a sender that is in no
-- such state.
CREATE OR REPLACE FUNCTION release_sender(chain text, sender text, last_nonce bigint DEFAULT NULL, admin uuid DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    line senders;
    judged int8multirange;
BEGIN
    SELECT s.* INTO line FROM senders s JOIN chains c ON c.id = s.chain_id
    WHERE c.name = release_sender.chain AND s.sender = release_sender.sender
    FOR UPDATE OF s;
    IF line.sender IS NULL OR (line.held IS NULL AND line.stuck IS NULL AND line.unknown_below IS NULL) THEN
        RAISE EXCEPTION 'sender "%" is not held on chain "%", nor stuck', sender, chain USING
            ERRCODE = 'no_data_found',
            HINT = 'Senders that are: SELECT * FROM senders WHERE held IS NOT NULL OR stuck IS NOT NULL OR unknown_below IS NOT NULL.';
    ELSIF line.held IS NULL AND line.stuck IS NULL AND line.unknown_since > clock_timestamp() - interval '10 minutes' THEN
        RAISE EXCEPTION 'sender "%" on chain "%" is looked into since %: that has a right to ten minutes',
            sender, chain, date_trunc('second', line.unknown_since) USING
            ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'The confirmation worker does it: see that it runs (flagpost doctor).';
    END IF;
    judged := CASE
        WHEN line.unexplained IS NOT NULL THEN line.unexplained
        WHEN line.unknown_below IS NOT NULL AND (line.stuck IS NOT NULL OR line.held IS NULL)
        THEN nonces_in_doubt(line.chain_id, line.sender, line.unknown_below)
    END * int8multirange(int8range(NULL, last_nonce, '[]'));
    IF isempty(judged) THEN
        RAISE EXCEPTION 'nothing is to be judged of sender "%" on chain "%" up to nonce %', sender, chain, last_nonce USING
            ERRCODE = 'no_data_found',
            HINT = 'senders.stuck names the nonces.';
    END IF;
    UPDATE senders s
    SET held = NULL, held_since = NULL, stuck = NULL, stuck_since = NULL, unexplained = NULL,
        released = coalesce(judged, s.released), released_at = CASE WHEN judged IS NULL THEN s.released_at ELSE clock_timestamp() END
    WHERE s.chain_id = line.chain_id AND s.sender = line.sender;
    PERFORM write_admin_action('sender.release', 'sender', format('%s/%s', chain, sender), jsonb_build_object(
        'last_nonce', last_nonce, 'judged', judged::text,
        'before', jsonb_build_object('held', line.held, 'stuck', line.stuck, 'unknown_below', line.unknown_below)), admin);
    RETURN concat_ws('; ', line.held, line.stuck, CASE WHEN line.held IS NULL AND line.stuck IS NULL
        THEN format('transactions below nonce %s were looked for since %s', line.unknown_below, line.unknown_since) END);
END
$$;
REVOKE ALL ON FUNCTION release_sender(text, text, bigint, uuid) FROM PUBLIC;
COMMENT ON FUNCTION release_sender(text, text, bigint, uuid) IS
    'Lets a sender pay again, once a person has looked at what it did: SELECT release_sender(''bsc'', ''0x…'')';

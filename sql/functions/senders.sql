-- What is said of senders on numbered chains (EVM), by processes and by people.

-- A node showed `p_counted` transactions of a sender, more than the books know (or of a nonce that is to be filled): the
-- confirmation worker is rung and looks into it, and nothing new of that sender is signed before it has. Whoever says so
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

-- For people: what the sender did outside the books is understood, and it may pay again. Returns what it was held for; raises
-- for a chain that is none and for a sender that is not held.
CREATE OR REPLACE FUNCTION release_sender(chain text, sender text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    reason text;
BEGIN
    SELECT s.held INTO reason FROM senders s JOIN chains c ON c.id = s.chain_id
    WHERE c.name = release_sender.chain AND s.sender = release_sender.sender AND s.held IS NOT NULL
    FOR UPDATE OF s;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'sender "%" is not held on chain "%"', sender, chain USING
            ERRCODE = 'no_data_found', HINT = 'Senders that are: SELECT * FROM senders WHERE held IS NOT NULL.';
    END IF;
    UPDATE senders s SET held = NULL, held_since = NULL
    FROM chains c
    WHERE c.id = s.chain_id AND c.name = release_sender.chain AND s.sender = release_sender.sender;
    RETURN reason;
END
$$;
REVOKE ALL ON FUNCTION release_sender(text, text) FROM PUBLIC;

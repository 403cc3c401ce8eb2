-- Reconciling, freezing and releasing senders on chains with nonces (EVM).

-- A node counts `p_counted` transactions of a sender, more than are recorded (or shows a nonce used that is to be filled): notifies
-- the confirmation worker, which reconciles that sender; nothing new of it is signed before that. A wrong report costs time and no
-- money. False: no payment of that sender is under way.
CREATE OR REPLACE FUNCTION request_reconciliation(p_chain_id integer, p_sender text, p_counted bigint) RETURNS boolean
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
REVOKE ALL ON FUNCTION request_reconciliation(integer, text, bigint) FROM PUBLIC;

-- Freezes a sender: nothing new of it is signed until an operator releases it. One that is frozen already keeps its time.
CREATE OR REPLACE FUNCTION freeze_sender(p_chain_id integer, p_sender text, p_reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE senders s SET frozen = concat_ws('; ', s.frozen, p_reason), frozen_since = coalesce(s.frozen_since, clock_timestamp())
    WHERE s.chain_id = p_chain_id AND s.sender = p_sender AND position(p_reason IN coalesce(s.frozen, '')) = 0
$$;
REVOKE ALL ON FUNCTION freeze_sender(integer, text, text) FROM PUBLIC;

-- Which nonces of a sender below `p_unknown_below` are unverified while it is being reconciled: the void ones, and those above all
-- that are recorded. Never one that a payment has, which its own proof decides. Where there are none of these, the next one, if
-- no payment has it.
CREATE OR REPLACE FUNCTION unverified_nonces(p_chain_id integer, p_sender text, p_unknown_below bigint) RETURNS int8multirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE
        WHEN NOT isempty(unverified.nonces) THEN unverified.nonces
        WHEN NOT EXISTS (SELECT FROM nonces n
                         WHERE n.chain_id = p_chain_id AND n.sender = p_sender AND n.nonce = p_unknown_below)
        THEN int8multirange(int8range(p_unknown_below, p_unknown_below, '[]'))
    END
    FROM (SELECT coalesce((SELECT range_agg(int8range(n.nonce, n.nonce, '[]')) FROM nonces n
                           WHERE n.chain_id = p_chain_id AND n.sender = p_sender AND n.state = 'void'
                             AND n.nonce < p_unknown_below), '{}')
                 + int8multirange(int8range(
                     least(coalesce(next_nonce(p_chain_id, p_sender), 0), p_unknown_below), p_unknown_below)) AS nonces) unverified
$$;

-- An operator lets a sender pay again, once its unrecorded transactions are understood: one that is frozen, stuck, or being
-- reconciled for more than ten minutes. Of nonces that are used and not explained the operator states that no payment of ours used
-- them: payments that have them are decided anew, so check a block explorer first. `last_nonce` is the highest that was checked:
-- nothing is stated of higher ones. Writes admin_actions, for `admin` (auth.users.id) where one is named. Returns the reason for
-- which the sender waited; raises for an unknown chain and for a sender that waits for nobody.
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
    IF NOT EXISTS (SELECT FROM chains c WHERE c.name = release_sender.chain) THEN
        RAISE EXCEPTION 'no chain is called "%"', chain USING ERRCODE = 'no_data_found', HINT = 'See: flagpost chains list';
    ELSIF line.sender IS NULL OR (line.frozen IS NULL AND line.stuck IS NULL AND line.unknown_below IS NULL) THEN
        RAISE EXCEPTION 'sender "%" is not frozen on chain "%", nor stuck', sender, chain USING
            ERRCODE = 'no_data_found',
            HINT = 'flagpost senders list prints those that are.';
    ELSIF line.frozen IS NULL AND line.stuck IS NULL AND line.unknown_since > clock_timestamp() - interval '10 minutes' THEN
        RAISE EXCEPTION 'sender "%" on chain "%" has been reconciled since %: that may take ten minutes',
            sender, chain, date_trunc('second', line.unknown_since) USING
            ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'The confirmation worker reconciles it; check that it runs: flagpost doctor.';
    END IF;
    judged := CASE
        WHEN line.unexplained IS NOT NULL THEN line.unexplained
        WHEN line.unknown_below IS NOT NULL AND (line.stuck IS NOT NULL OR line.frozen IS NULL)
        THEN unverified_nonces(line.chain_id, line.sender, line.unknown_below)
    END * int8multirange(int8range(NULL, last_nonce, '[]'));
    IF isempty(judged) THEN
        RAISE EXCEPTION 'sender "%" on chain "%" has no unexplained nonce up to %', sender, chain, last_nonce USING
            ERRCODE = 'no_data_found',
            HINT = 'flagpost senders list names the nonces.';
    END IF;
    UPDATE senders s
    SET frozen = NULL, frozen_since = NULL, stuck = NULL, stuck_since = NULL, unexplained = NULL,
        released = coalesce(judged, s.released), released_at = CASE WHEN judged IS NULL THEN s.released_at ELSE clock_timestamp() END
    WHERE s.chain_id = line.chain_id AND s.sender = line.sender;
    PERFORM write_admin_action('sender.release', 'sender', format('%s/%s', chain, sender), jsonb_build_object(
        'last_nonce', last_nonce, 'judged', judged::text,
        'before', jsonb_build_object('frozen', line.frozen, 'stuck', line.stuck, 'unknown_below', line.unknown_below)), admin);
    RETURN concat_ws('; ', line.frozen, line.stuck, CASE WHEN line.frozen IS NULL AND line.stuck IS NULL
        THEN format('transactions below nonce %s have been searched for since %s', line.unknown_below, line.unknown_since) END);
END
$$;
REVOKE ALL ON FUNCTION release_sender(text, text, bigint, uuid) FROM PUBLIC;
COMMENT ON FUNCTION release_sender(text, text, bigint, uuid) IS
    'Lets a frozen or stuck sender pay again, once an operator has checked what it did: SELECT release_sender(''bsc'', ''0x…'')';

-- The agents of hosts (flagpost host): which slots each of them starts processes in, and how many there shall be of a type.
--
-- Guarantees: two agents never have the same slot. Of a type with a number for all hosts (worker_targets with host '') never more
-- slots are taken than that; what is too much is given back, the highest number first, and counts until its process is gone. What
-- an agent that is gone had is taken by others, once it has been gone for 5 s and the slot's own process has ended. An agent
-- writes for its own host only, which it proves by the secret that it registered with. No function here says which command a host
-- runs: its agent reads that in its own Procfile.

-- Whether an agent is to keep its slots: it lives and is not told to stop, or ended a moment ago and may be starting again.
CREATE OR REPLACE FUNCTION agent_is_there(a worker_registry) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT a.type = 'host' AND a.desired <> 'stopped'
       AND (has_process(a) OR coalesce(a.ended_at > clock_timestamp() - interval '5 seconds', false))
$$;

-- Whether the agent of a host keeps this slot, also while no process is in it.
CREATE OR REPLACE FUNCTION slot_is_kept(w worker_registry) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT w.managed_by IS NOT NULL
       AND EXISTS (SELECT FROM worker_registry a WHERE a.type = 'host' AND a.host = w.managed_by AND agent_is_there(a))
$$;

-- Whether the row is that of an agent of this host that is gone. It holds nothing that would have to be rescued first, so that
-- its session alone says so on the same machine (p_machine: that of the new one, as in its `config`): what it was told holds for
-- the agent that is started right after it was killed. On another machine of that name, or where nobody knows, its session has to
-- have been gone for 5 s: at a failover of the database all sessions are gone for a moment, and who lives is back before.
CREATE OR REPLACE FUNCTION is_former_agent(w worker_registry, p_host text, p_machine text, p_sessions bigint[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(w.type = 'host' AND w.host = p_host AND w.session_seen
                    AND worker_session_key(w.incarnation) <> ALL (p_sessions)
                    AND (w.config ->> 'machine' = p_machine
                         OR w.session_lost_at < clock_timestamp() - interval '5 seconds'), false)
$$;

-- The slot that the agent of this host had before, with what it was told there; NULL: none that is free.
CREATE OR REPLACE FUNCTION slot_of_agent(p_host text, p_machine text, p_sessions bigint[]) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT w.id FROM worker_registry w
    WHERE w.type = 'host' AND w.host = p_host
      AND (slot_is_free(w, p_sessions) OR is_former_agent(w, p_host, p_machine, p_sessions))
    ORDER BY w.last_heartbeat DESC
    LIMIT 1
$$;

-- The number of a slot within its type and chains; NULL for a slot of others.
CREATE OR REPLACE FUNCTION slot_number(p_slot text, p_prefix text) RETURNS integer
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN starts_with(p_slot, p_prefix)
                THEN substring(substr(p_slot, length(p_prefix) + 1) FROM '^[0-9]{3,4}$')::integer END
$$;

-- The hosts that share the number for all hosts of a type and its chains, and how many slots each of them may have: as evenly as
-- it goes, one more where most work already: a host that is back takes nothing from one that has taken its part. No row without such
-- a number. An agent that is paused does not share.
CREATE OR REPLACE FUNCTION shares(p_type text, p_prefix text) RETURNS TABLE (host text, share integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH told AS (
        SELECT t.host, t.workers FROM worker_targets t
        WHERE t.type = p_type AND slot_prefix(nullif(t.blockchain, ''), t.type) = p_prefix
    ), sharing AS (
        SELECT DISTINCT a.host FROM worker_registry a
        WHERE a.type = 'host' AND a.desired = 'running' AND a.config -> 'lines' ? rtrim(p_prefix, '-') AND agent_is_there(a)
          AND a.host NOT IN (SELECT t.host FROM told t)
    ), ranked AS (
        SELECT s.host, count(*) OVER () AS hosts, row_number() OVER (ORDER BY has.processes DESC, has.slots DESC, s.host) AS place
        FROM sharing s
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE has_process(w)) AS processes, count(*) AS slots FROM worker_registry w
            WHERE w.managed_by = s.host AND w.type = p_type AND slot_number(w.id, p_prefix) IS NOT NULL
        ) has
    )
    SELECT r.host, (told.workers / r.hosts + (r.place <= told.workers % r.hosts)::integer)::integer
    FROM ranked r JOIN told ON told.host = ''
$$;

-- How many slots of a type and its chains an agent may have, and how many all of them together (NULL: each has its own number).
-- Without a row in worker_targets: one on each host.
CREATE OR REPLACE FUNCTION slots_wanted(p_host text, p_type text, p_prefix text)
RETURNS TABLE (here integer, in_all integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH told AS (
        SELECT t.host, t.workers FROM worker_targets t
        WHERE t.type = p_type AND slot_prefix(nullif(t.blockchain, ''), t.type) = p_prefix AND t.host IN ('', p_host)
        ORDER BY t.host DESC
        LIMIT 1
    )
    SELECT CASE told.host WHEN p_host THEN told.workers
                          WHEN '' THEN coalesce((SELECT s.share FROM shares(p_type, p_prefix) s WHERE s.host = p_host), 0)
                          ELSE 1 END,
           CASE told.host WHEN '' THEN told.workers END
    FROM (SELECT) nothing LEFT JOIN told ON true
$$;

-- The slots of a type and its chains that count towards the number for all hosts, and whether each is kept: those of agents that
-- share in it, and those of others in which a process lives still.
CREATE OR REPLACE FUNCTION shared_slots(p_type text, p_prefix text, p_in_all integer)
RETURNS TABLE (slot text, kept boolean)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH agents AS MATERIALIZED (
        -- A paused agent takes nothing, and gives nothing up to others.
        SELECT a.host, bool_or(a.desired = 'paused') AS paused FROM worker_registry a
        WHERE a.type = 'host' AND a.config -> 'lines' ? rtrim(p_prefix, '-') AND agent_is_there(a)
        GROUP BY a.host
    ), counted AS (
        SELECT w.id, slot_number(w.id, p_prefix) AS number, agents.paused, s.share,
               row_number() OVER (PARTITION BY w.managed_by ORDER BY slot_number(w.id, p_prefix)) AS place
        FROM worker_registry w
        LEFT JOIN agents ON agents.host = w.managed_by
        LEFT JOIN shares(p_type, p_prefix) s ON s.host = w.managed_by
        WHERE w.type = p_type AND slot_number(w.id, p_prefix) IS NOT NULL AND w.managed_by IS NOT NULL
          AND (agents.host IS NOT NULL OR has_process(w))
          AND NOT EXISTS (SELECT FROM worker_targets t WHERE t.type = p_type AND t.host = w.managed_by
                          AND slot_prefix(nullif(t.blockchain, ''), t.type) = p_prefix)
    ), allowed AS (
        SELECT c.id, c.number, coalesce(c.paused OR c.place <= c.share, false) AS may_stay FROM counted c
    )
    SELECT a.id, a.may_stay AND count(*) FILTER (WHERE a.may_stay) OVER (ORDER BY a.number) <= p_in_all
    FROM allowed a
$$;

-- The row of the agent that calls. Raises FP015 for a row of another process, FP004 where it is not registered (any more), FP003
-- where its host has an agent that began before.
CREATE OR REPLACE FUNCTION calling_agent(p_incarnation uuid, p_token text) RETURNS worker_registry
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    me worker_registry;
    other worker_registry;
BEGIN
    SELECT * INTO me FROM worker_registry w WHERE w.incarnation = p_incarnation AND w.type = 'host';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'agent % is not registered', p_incarnation USING
            ERRCODE = 'FP004', HINT = 'It registers again with its next heartbeat.';
    ELSIF NOT is_own_row(me, p_token) THEN
        RAISE EXCEPTION '% may not act for agent %', calling_role(), me.id USING
            ERRCODE = 'FP015', HINT = 'An agent acts for its own host only.';
    END IF;
    SELECT * INTO other FROM worker_registry w
    WHERE w.type = 'host' AND w.host = me.host AND w.incarnation <> me.incarnation AND w.created_at < me.created_at
      AND w.ended_at IS NULL
      AND (worker_session_key(w.incarnation) = ANY (worker_sessions())
           OR NOT w.session_seen AND w.last_heartbeat > clock_timestamp() - interval '60 seconds')
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'host % has an agent already: %, pid %, since %', me.host, other.id, other.pid,
            to_char(other.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') USING
            ERRCODE = 'FP003', HINT = 'End that one, or give this one another name: flagpost host --name.';
    END IF;
    RETURN me;
END
$$;

-- Whether an agent of this one's host that began before is not there, and may be back within 5 s: on another machine, at a
-- failover of the database.
CREATE OR REPLACE FUNCTION former_may_return(me worker_registry, p_sessions bigint[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM worker_registry w
                   WHERE w.type = 'host' AND w.host = me.host AND w.incarnation <> me.incarnation AND w.created_at < me.created_at
                     AND w.ended_at IS NULL AND w.session_seen
                     AND NOT is_former_agent(w, me.host, me.config ->> 'machine', p_sessions))
$$;

-- Takes the slots that the calling agent is to have, gives back what is too much, and returns all that it has.
--
-- p_lines: what its Procfile can run, [{"type": "gas-topup", "blockchain": "tron"}]; blockchain '': all. p_running: the slots in
-- which it has a process. Of each slot: `kept` false: its process is to end; `free`: a process may be started, because the last
-- one is gone and holds nothing any more. An agent that is paused takes nothing new; one whose predecessor may return has nothing
-- yet. Raises what calling_agent raises.
CREATE OR REPLACE FUNCTION take_slots(p_incarnation uuid, p_token text, p_lines jsonb, p_running text[])
RETURNS TABLE (slot text, type text, blockchain text, desired text, generation bigint, pid integer, kept boolean, free boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    me worker_registry;
    sessions bigint[];
    line record;
    wanted record;
    has integer;
    in_use integer;
    entered text;
    keeping text[] := '{}';
    changed boolean;
BEGIN
    IF jsonb_array_length(p_lines) > 200 THEN
        RAISE EXCEPTION 'a host runs 200 lines at the most, not %', jsonb_array_length(p_lines) USING
            ERRCODE = 'FP004', HINT = 'Divide the Procfile over several hosts.';
    END IF;
    PERFORM lock_row('slots of hosts');
    -- Also where no other process looks: all that did may have been on the host that is gone.
    PERFORM mark_silent_workers(interval '60 seconds');
    me := calling_agent(p_incarnation, p_token);
    sessions := worker_sessions();
    IF former_may_return(me, sessions) THEN
        RETURN;
    END IF;
    UPDATE worker_registry w SET config = w.config || jsonb_build_object('lines', lines.prefixes)
    FROM (
        SELECT coalesce(jsonb_agg(rtrim(slot_prefix(nullif(l.blockchain, ''), l.type), '-')), '[]') AS prefixes
        FROM jsonb_to_recordset(p_lines) AS l (type text, blockchain text)
    ) lines
    WHERE w.id = me.id AND w.config -> 'lines' IS DISTINCT FROM lines.prefixes;
    changed := FOUND;

    FOR line IN
        SELECT l.type, nullif(l.blockchain, '') AS blockchain, slot_prefix(nullif(l.blockchain, ''), l.type) AS prefix
        FROM jsonb_to_recordset(p_lines) AS l (type text, blockchain text)
        JOIN worker_types t ON t.type = l.type AND t.type <> 'host'
    LOOP
        SELECT * INTO wanted FROM slots_wanted(me.host, line.type, line.prefix);
        SELECT count(*) INTO has FROM worker_registry w
        WHERE w.managed_by = me.host AND w.type = line.type AND slot_number(w.id, line.prefix) IS NOT NULL;
        IF wanted.in_all IS NOT NULL THEN
            SELECT count(*) INTO in_use FROM shared_slots(line.type, line.prefix, wanted.in_all);
        END IF;
        WHILE me.desired = 'running' AND has < wanted.here AND (wanted.in_all IS NULL OR in_use < wanted.in_all) LOOP
            INSERT INTO worker_registry AS w (id, name, type, blockchain, host, managed_by, status, ended_at, last_heartbeat)
            VALUES (free_slot(line.prefix, sessions), format('%s@%s', line.type, me.host), line.type, line.blockchain, me.host,
                    me.host, 'stopped', clock_timestamp(), clock_timestamp())
            -- A process that takes the slot by itself meanwhile has it; the next call finds another.
            ON CONFLICT (id) DO UPDATE SET managed_by = excluded.managed_by, host = excluded.host
            WHERE slot_is_free(w, sessions)
            RETURNING w.id INTO entered;
            EXIT WHEN entered IS NULL;
            has := has + 1;
            in_use := in_use + 1;
        END LOOP;
        keeping := keeping || CASE
            WHEN wanted.in_all IS NULL THEN ARRAY(
                SELECT w.id FROM worker_registry w
                WHERE w.managed_by = me.host AND w.type = line.type AND slot_number(w.id, line.prefix) IS NOT NULL
                ORDER BY slot_number(w.id, line.prefix) LIMIT wanted.here)
            ELSE ARRAY(SELECT s.slot FROM shared_slots(line.type, line.prefix, wanted.in_all) s WHERE s.kept)
        END;
    END LOOP;

    -- Without a process: given back what is too much, and what a process that is silent, and not ours, does not give up.
    UPDATE worker_registry w SET managed_by = NULL
    WHERE w.managed_by = me.host AND w.type <> 'host' AND w.id <> ALL (p_running) AND NOT has_process(w)
      AND (w.id <> ALL (keeping)
           OR NOT slot_is_free(w, sessions) AND w.last_heartbeat < clock_timestamp() - interval '60 seconds');
    IF FOUND OR changed THEN
        -- Other agents have something to take, or to give back.
        PERFORM notify_listeners('workers', me.id);
    END IF;
    -- Told to stop, and without a process: obeyed, whether or not it could still say so.
    UPDATE worker_registry w SET
        status = 'stopped', ended_at = coalesce(w.ended_at, clock_timestamp()), observed_generation = w.generation
    WHERE w.managed_by = me.host AND w.type <> 'host' AND w.desired = 'stopped' AND w.id <> ALL (p_running) AND NOT has_process(w)
      AND (w.status <> 'stopped' OR w.observed_generation IS DISTINCT FROM w.generation);
    -- What was told there is obeyed by a process in another slot: it is no word for the next one here.
    UPDATE worker_registry w SET
        stats = w.stats - 'replaced_by', desired = 'running', generation = w.generation + (w.desired <> 'running')::integer,
        status = 'stopped', ended_at = coalesce(w.ended_at, clock_timestamp()), last_heartbeat = clock_timestamp()
    WHERE w.managed_by = me.host AND w.stats ? 'replaced_by' AND w.id <> ALL (p_running) AND slot_is_free(w, sessions);
    RETURN QUERY
    SELECT w.id, w.type, coalesce(w.blockchain, ''), w.desired, w.generation, w.pid, w.id = ANY (keeping),
           slot_is_free(w, sessions)
    FROM worker_registry w
    WHERE w.managed_by = me.host AND w.type <> 'host'
    ORDER BY w.id;
END
$$;
REVOKE ALL ON FUNCTION take_slots(uuid, text, jsonb, text[]) FROM PUBLIC;

-- Whether somebody has locked the row of a slot, so that its process cannot say that it lives: a person's open transaction, for example.
CREATE OR REPLACE FUNCTION slot_is_locked(p_slot text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT NOT EXISTS (SELECT FROM worker_registry w WHERE w.id = p_slot FOR NO KEY UPDATE SKIP LOCKED)
       AND EXISTS (SELECT FROM worker_registry w WHERE w.id = p_slot)
$$;
REVOKE ALL ON FUNCTION slot_is_locked(text) FROM PUBLIC;

-- Says that a process which the calling agent had started has ended: what it held is rescued at once, and what it led is free,
-- because nobody needs to wait whether it comes back. p_error: why no process is started there any more, until somebody tells it
-- to start; NULL: one is.
CREATE OR REPLACE FUNCTION end_slot(p_incarnation uuid, p_token text, p_slot text, p_pid integer, p_error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    me worker_registry := calling_agent(p_incarnation, p_token);
BEGIN
    UPDATE leaderships l SET holder = NULL, until = clock_timestamp()
    FROM worker_registry w
    WHERE w.id = p_slot AND w.managed_by = me.host AND w.host = me.host AND w.pid = p_pid AND l.holder = w.incarnation;
    UPDATE worker_registry w SET
        session_lost_at = clock_timestamp() - interval '6 seconds',
        status = CASE WHEN p_error IS NULL THEN w.status ELSE 'error' END,
        last_error = coalesce(p_error, w.last_error),
        ended_at = CASE WHEN p_error IS NULL THEN w.ended_at ELSE coalesce(w.ended_at, clock_timestamp()) END
    WHERE w.id = p_slot AND w.managed_by = me.host AND w.type <> 'host'
      AND (w.pid = p_pid AND w.host = me.host AND w.ended_at IS NULL
           OR p_error IS NOT NULL AND slot_is_free(w, worker_sessions()));
END
$$;
REVOKE ALL ON FUNCTION end_slot(uuid, text, text, integer, text) FROM PUBLIC;

-- How many workers of a type, limited to these chains (names with commas; '': all), there shall be: over all hosts, or on one
-- host. `number` NULL: as without a number again, one on each host. Raises FP004 for an unknown type or chain, and for a number
-- that is not from 0 to 200; FP019 where it leaves payments that are out without a worker that follows them, unless `anyway` says
-- so.
CREATE OR REPLACE FUNCTION scale_workers(
    of_type text, number integer, chains text DEFAULT '', on_host text DEFAULT '', anyway boolean DEFAULT false,
    admin uuid DEFAULT NULL
) RETURNS TABLE (type text, blockchain text, host text, workers integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    for_host text := btrim(coalesce(on_host, ''));
    served text := coalesce((
        SELECT string_agg(c.name, ',' ORDER BY c.name COLLATE "C")
        FROM (SELECT DISTINCT btrim(n) AS name FROM unnest(string_to_array(chains, ',')) AS n WHERE btrim(n) <> '') c), '');
    unknown text;
    before worker_targets;
    out_alone bigint;
BEGIN
    IF of_type IS NULL OR of_type IN ('host', 'web') OR NOT EXISTS (SELECT FROM worker_types t WHERE t.type = of_type) THEN
        RAISE EXCEPTION 'workers of type "%" are not scaled', coalesce(of_type, 'NULL') USING
            ERRCODE = 'FP004',
            HINT = format('The types: %s.', (SELECT string_agg(t.type, ', ' ORDER BY t.type) FROM worker_types t
                                             WHERE t.type NOT IN ('host', 'web')));
    ELSIF number NOT BETWEEN 0 AND 200 THEN
        RAISE EXCEPTION '% workers cannot be had', number USING ERRCODE = 'FP004', HINT = 'Say a number from 0 to 200.';
    END IF;
    SELECT n INTO unknown FROM unnest(string_to_array(served, ',')) AS n WHERE n NOT IN (SELECT c.name FROM chains c) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no chain "%"', unknown USING ERRCODE = 'FP004', HINT = 'See: flagpost chains list.';
    END IF;
    -- Whoever scales, auto-scaling too, does so one after the other.
    PERFORM lock_row('worker targets');
    IF of_type = 'confirmations' AND number = 0 AND NOT coalesce(anyway, false) THEN
        SELECT count(*) INTO out_alone FROM transfers t JOIN chains c ON c.id = t.chain_id
        WHERE t.state IN ('broadcasting', 'included', 'expired') AND serves_chain(nullif(served, ''), c.name);
        IF out_alone > 0 THEN
            RAISE EXCEPTION '% payments are out, and no worker would follow them', out_alone USING
                ERRCODE = 'FP019', HINT = 'They stay unsettled until there are such workers again.';
        END IF;
    END IF;
    SELECT * INTO before FROM worker_targets t WHERE t.type = of_type AND t.blockchain = served AND t.host = for_host FOR UPDATE;
    IF number IS NULL THEN
        DELETE FROM worker_targets t WHERE t.type = of_type AND t.blockchain = served AND t.host = for_host;
    ELSE
        INSERT INTO worker_targets AS t (type, blockchain, host, workers, set_by, set_at)
        VALUES (of_type, served, for_host, number, 'operator', clock_timestamp())
        ON CONFLICT ON CONSTRAINT worker_targets_pkey DO UPDATE
        SET workers = excluded.workers, set_by = excluded.set_by, set_at = excluded.set_at;
    END IF;
    IF before.workers IS DISTINCT FROM number THEN
        PERFORM write_admin_action(
            'workers.scale', 'workers', rtrim(slot_prefix(nullif(served, ''), of_type), '-'),
            jsonb_build_object('host', for_host, 'before', jsonb_build_object('workers', before.workers, 'set_by', before.set_by),
                               'after', jsonb_build_object('workers', number)), admin);
        PERFORM notify_listeners('workers', rtrim(slot_prefix(nullif(served, ''), of_type), '-'));
    END IF;
    RETURN QUERY SELECT of_type, served, for_host, number;
END
$$;
REVOKE ALL ON FUNCTION scale_workers(text, integer, text, text, boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION scale_workers(text, integer, text, text, boolean, uuid) IS
    'How many workers of a type there shall be over all hosts: SELECT * FROM scale_workers(''gas-topup'', 4)';

-- The registry of processes, written through two functions so that a role which may write nothing
-- else (pipeline_sync) can still be seen alive.
--
-- Guarantees: a role registers workers of its own types only (worker_types), and at most 200 that live; a worker changes its own
-- row only, which it proves by the secret that it registered with; a slot has one process (worker_slots.sql), and what operators
-- told it (`desired`, sql/functions/admin_workers.sql) holds for the next process of the slot, too; nobody is called dead whose
-- session is there. Processes of the version before call worker_heartbeat and the shorter register_worker: they know of commands
-- what `status` says.

-- The advisory lock that a worker's LISTEN session holds for as long as it lives. Shared, so that the session which follows
-- a half-open one need not wait for it. Where somebody else holds it alone, the worker is judged by its heartbeats.
CREATE OR REPLACE FUNCTION worker_session_key(p_incarnation uuid) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT hashtextextended('flagpost: worker ' || p_incarnation::text, 0) $$;

-- The keys of all workers whose session is there, held by logins that can be workers: nobody else keeps a dead one alive. A
-- process that is killed loses its sessions within milliseconds; one that is frozen or cut off keeps them, and is judged by its
-- heartbeats.
CREATE OR REPLACE FUNCTION worker_sessions() RETURNS bigint[]
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(array_agg(l.classid::bigint << 32 | l.objid::bigint), '{}')
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.pid = ANY ((SELECT worker_pids())::integer[])
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;

-- Incarnations of workers that died: their session has been gone for 5 s, and they have not been heard of since it was missed. One that
-- lives is back within a second, and says that it lives every 2 s as long as it is not (pipeline/workers/runtime.py).
CREATE OR REPLACE FUNCTION dead_workers() RETURNS uuid[]
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(array_agg(w.incarnation), '{}')
    FROM worker_registry w
    WHERE w.session_lost_at < clock_timestamp() - interval '5 seconds'
      AND worker_session_key(w.incarnation) <> ALL ((SELECT worker_sessions())::bigint[])
$$;

-- Whether the caller may write rows of workers of that type: the owner of this schema, and the role that they act as.
CREATE OR REPLACE FUNCTION may_be_worker(p_type text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT caller_acts_as(current_user) OR caller_acts_as((SELECT t.role FROM worker_types t WHERE t.type = p_type))
$$;

-- Whether a row is that of the process which knows the secret. The owner of this schema may write every row.
CREATE OR REPLACE FUNCTION is_own_row(w worker_registry, p_token text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT caller_acts_as(current_user)
        OR coalesce(may_be_worker(w.type) AND w.token_hash = sha256(convert_to(p_token, 'UTF8')), false)
$$;

-- What outlives the process that said it: how far the sweep has compared wallets (sql/queries/sweep/compared_up_to.sql), and how often
-- the processes of the slot began anew for their memory.
CREATE OR REPLACE FUNCTION lasting_stats(p_stats jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN p_stats ? 'compared_up_to' THEN jsonb_build_object('compared_up_to', p_stats -> 'compared_up_to') ELSE '{}' END
        || CASE WHEN p_stats ? 'memory_restarts' THEN jsonb_build_object('memory_restarts', p_stats -> 'memory_restarts') ELSE '{}' END
$$;

-- A number that a worker says of itself; NULL where it says none, or what no worker of ours says: one of them must not keep people from
-- seeing all.
CREATE OR REPLACE FUNCTION stat_number(p_stats jsonb, p_name text) RETURNS numeric
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN jsonb_typeof(p_stats -> p_name) = 'number' AND (p_stats ->> p_name)::numeric BETWEEN 0 AND 1e15
                THEN (p_stats ->> p_name)::numeric END
$$;

-- Registers a process: in the slot p_slot (p_elsewhere: where that is not free, in the lowest one that is), in the slot of the process
-- that it replaces (p_slot NULL), else in the lowest one that is free; or again in the one it has. Returns the slot, what it is told, and
-- where that stands in the order of commands; no row while p_slot is another process's, or what its last process held is not rescued
-- yet, unless p_elsewhere. What its slot was told, or that of the process it replaces, holds for it wherever it registers. p_incarnation
-- is drawn by the process, so that it survives a database that was restored under it, and so is p_token, which it has to know
-- from then on. p_blockchain: names of the chains it serves, with commas; NULL: all. p_desired: what it was told in a slot that it lost;
-- its new one is told the same. NULL: it is new. p_managed_by: the host whose agent started it.
-- Raises FP015 where the caller may not, FP016 above 200 live workers of its role, 22023 for a slot of another kind; ended
-- ones are forgotten beyond 1,000 of a role.
CREATE OR REPLACE FUNCTION register_worker(
    p_incarnation uuid, p_name text, p_type text, p_blockchain text, p_pid integer, p_host text, p_port integer, p_config jsonb,
    p_token text, p_slot text, p_elsewhere boolean, p_desired text, p_managed_by text
) RETURNS TABLE (slot text, desired text, generation bigint, restart_generation bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    allowed name := (SELECT t.role FROM worker_types t WHERE t.type = p_type);
    kin text[] := ARRAY(SELECT t.type FROM worker_types t WHERE t.role = allowed);
    prefix text := slot_prefix(p_blockchain, p_type);
    known worker_registry;
    living integer;
    sessions bigint[];
    wanted text;
    told text;
    former text;
    replaced worker_registry;
    taken worker_registry;
    moves boolean := false;
BEGIN
    IF NOT may_be_worker(p_type) THEN
        RAISE EXCEPTION '% may not register a worker of type "%"', calling_role(), p_type USING
            ERRCODE = 'FP015',
            HINT = coalesce('Workers of this type act as ' || allowed || '.', 'The types: SELECT * FROM worker_types.');
    ELSIF p_slot IS NOT NULL AND (NOT starts_with(p_slot, prefix) OR substr(p_slot, length(prefix) + 1) !~ '^[0-9]{3,4}$') THEN
        RAISE EXCEPTION 'slot % is not of a worker of type %, whose slots are %001 and so on', p_slot, p_type, prefix USING
            ERRCODE = '22023', HINT = 'Start the process without FLAGPOST_SLOT, or with the slot of its own type and chains.';
    END IF;
    -- One after the other, so that two never find the same slot free, and the number of them holds.
    PERFORM lock_row(format('workers of %s', allowed));

    SELECT * INTO known FROM worker_registry w WHERE w.incarnation = p_incarnation;
    IF FOUND THEN
        IF NOT is_own_row(known, p_token) THEN
            RAISE EXCEPTION 'worker % is registered by another process, as %', p_incarnation, known.id USING
                ERRCODE = 'FP015', HINT = 'Start this process again: it draws a new id.';
        END IF;
        RETURN QUERY
        UPDATE worker_registry w SET
            status = 'running', last_heartbeat = clock_timestamp(), last_error = NULL, config = coalesce(p_config, '{}'),
            port = p_port, session_lost_at = NULL, ended_at = NULL
        WHERE w.incarnation = p_incarnation
        RETURNING w.id, w.desired, w.generation, w.restart_generation;
        RETURN;
    END IF;

    SELECT count(*) INTO living FROM worker_registry w
    WHERE w.type = ANY (kin) AND w.status IN ('running', 'paused') AND w.last_heartbeat > clock_timestamp() - interval '60 seconds';
    IF living >= 200 THEN
        RAISE EXCEPTION '% workers of % live already, which is the most', living, allowed USING
            ERRCODE = 'FP016',
            HINT = 'See worker_registry: if they are not yours, somebody has taken over a login of that role.';
    END IF;
    DELETE FROM worker_registry
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker_registry w
        WHERE w.type = ANY (kin)
          AND (w.status IN ('stopped', 'error') OR w.last_heartbeat <= clock_timestamp() - interval '60 seconds')
        ORDER BY w.last_heartbeat DESC OFFSET 1000));

    WHILE taken.id IS NULL LOOP
        sessions := worker_sessions();
        -- NULL: what the slot was told. One that lost its slot works no more than it did, and no less.
        told := nullif(p_desired, 'running');
        IF p_slot IS NOT NULL AND NOT moves THEN
            wanted := p_slot;
        ELSIF p_type = 'host' THEN
            wanted := coalesce(slot_of_agent(p_host, p_config ->> 'machine', sessions), free_slot(prefix, sessions));
        ELSIF p_slot IS NOT NULL THEN
            -- Locked, as below: a command that is under way is seen.
            SELECT coalesce(p_desired, told_in_slot(w)) INTO told FROM worker_registry w WHERE w.id = p_slot FOR UPDATE;
            wanted := free_slot(prefix, sessions, told IS NULL);
        ELSE
            SELECT r.id INTO former FROM replaced_process(prefix, p_host, sessions) r;
            -- A command to it that is under way is waited for, and then it is looked for again.
            PERFORM FROM worker_registry w WHERE w.id = former FOR UPDATE;
            sessions := worker_sessions();
            SELECT * INTO replaced FROM replaced_process(prefix, p_host, sessions);
            CONTINUE WHEN replaced.id IS DISTINCT FROM former;
            IF replaced.id IS NULL OR slot_is_free(replaced, sessions) THEN
                wanted := coalesce(replaced.id, free_slot(prefix, sessions));
            ELSE
                told := coalesce(told, replaced.desired);
                wanted := free_slot(prefix, sessions, false);
            END IF;
        END IF;
        INSERT INTO worker_registry AS w (
            id, incarnation, name, type, blockchain, pid, host, port, config, status, last_heartbeat, token_hash, managed_by,
            desired, generation, observed_generation
        ) VALUES (
            wanted, p_incarnation, p_name, p_type, p_blockchain, p_pid, p_host, p_port, coalesce(p_config, '{}'),
            'running', clock_timestamp(), sha256(convert_to(p_token, 'UTF8')), p_managed_by, coalesce(told, 'running'),
            CASE WHEN told <> 'running' THEN 1 ELSE 0 END, 0
        )
        -- A heartbeat of the process that had it may have come in between: then it is not free, and the next one is tried.
        ON CONFLICT (id) DO UPDATE SET
            incarnation = excluded.incarnation, name = excluded.name, type = excluded.type, blockchain = excluded.blockchain,
            pid = excluded.pid, host = excluded.host, port = excluded.port, config = excluded.config, status = 'running',
            last_heartbeat = excluded.last_heartbeat, token_hash = excluded.token_hash, last_error = NULL,
            stats = lasting_stats(w.stats), session_seen = false, session_lost_at = NULL, ended_at = NULL,
            managed_by = excluded.managed_by, created_at = clock_timestamp(),
            -- Whatever was told before it began is obeyed by a process that works; one that parks or pauses has yet to do so.
            (desired, generation, observed_generation) = (
                SELECT n.desired, w.generation + n.changed,
                       CASE n.desired WHEN 'running' THEN w.generation + n.changed
                           ELSE greatest(w.restart_generation, w.generation + n.changed - 1) END
                FROM (SELECT d.desired, (d.desired <> w.desired)::integer AS changed
                      FROM (SELECT coalesce(told, told_in_slot(w)) AS desired) d) n)
        WHERE slot_is_free(w, sessions) OR is_former_agent(w, p_host, p_config ->> 'machine', sessions)
        RETURNING w.* INTO taken;
        IF p_slot IS NOT NULL AND taken.id IS NULL AND NOT coalesce(p_elsewhere, false) THEN
            RETURN;
        END IF;
        moves := true;
    END LOOP;
    -- Its command has been passed on. Where it lives nevertheless, it takes this back with its next heartbeat.
    UPDATE worker_registry w SET stats = w.stats || jsonb_build_object('replaced_by', taken.id)
    WHERE w.id = replaced.id AND w.incarnation = replaced.incarnation;
    RETURN QUERY SELECT taken.id, taken.desired, taken.generation, taken.restart_generation;
END
$$;

-- The same for processes of the version before; returns the slot. Where the slot is not to work, they pause.
CREATE OR REPLACE FUNCTION register_worker(
    p_incarnation uuid, p_name text, p_type text, p_blockchain text,
    p_pid integer, p_host text, p_port integer, p_config jsonb, p_token text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    entered record;
BEGIN
    SELECT * INTO entered FROM register_worker(
        p_incarnation, p_name, p_type, p_blockchain, p_pid, p_host, p_port, p_config, p_token, NULL, false, NULL, NULL);
    UPDATE worker_registry SET
        observed_generation = NULL, status = CASE entered.desired WHEN 'running' THEN 'running' ELSE 'paused' END,
        last_heartbeat = clock_timestamp()
    WHERE incarnation = p_incarnation;
    RETURN entered.slot;
END
$$;

-- Says that a worker lives, what it does (running, paused; stopped: it is parked, or has ended) and up to which command it has obeyed;
-- returns what it is told. No row, and nothing is written, when the row is gone or its slot has another process: it registers
-- again then. What others wrote about a silent worker ('error') is healed by any heartbeat. p_last_error is all that is wrong
-- with it now: '' takes back what it said before, NULL leaves it. Raises FP015 for a row of another process.
CREATE OR REPLACE FUNCTION report_worker(
    p_incarnation uuid, p_status text, p_observed bigint, p_ended boolean, p_last_error text, p_stats jsonb, p_token text
) RETURNS TABLE (desired text, generation bigint, restart_generation bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    other_name text;
BEGIN
    RETURN QUERY
    UPDATE worker_registry w SET
        status = p_status,
        last_heartbeat = clock_timestamp(),
        observed_generation = least(p_observed, w.generation),
        ended_at = CASE WHEN p_ended THEN clock_timestamp() END,
        last_error = CASE WHEN p_last_error IS NULL THEN w.last_error ELSE nullif(p_last_error, '') END,
        stats = coalesce((lasting_stats(w.stats) || p_stats) - 'replaced_by', w.stats),
        session_seen = w.session_seen OR worker_session_key(w.incarnation) = ANY (worker_sessions()),
        session_lost_at = NULL
    WHERE w.incarnation = p_incarnation AND is_own_row(w, p_token)
    RETURNING w.desired, w.generation, w.restart_generation;
    IF NOT FOUND THEN
        SELECT w.name INTO other_name FROM worker_registry w WHERE w.incarnation = p_incarnation;
        IF FOUND THEN
            RAISE EXCEPTION '% may not write the row of worker %', calling_role(), other_name USING
                ERRCODE = 'FP015', HINT = 'A process writes its own row only; an operator calls control_worker().';
        END IF;
    END IF;
END
$$;

-- What a process is told, and whether the whole system is paused: asked every 2 s, so that a command arrives also where no NOTIFY
-- does. No row: the process has no slot (any more).
CREATE OR REPLACE FUNCTION worker_orders(p_incarnation uuid)
RETURNS TABLE (desired text, generation bigint, restart_generation bigint, system_paused boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT w.desired, w.generation, w.restart_generation,
           EXISTS (SELECT FROM system_config c WHERE c.key = 'paused' AND c.value = 'true')
    FROM worker_registry w WHERE w.incarnation = p_incarnation
$$;

-- The heartbeat of processes of the version before. Says that a worker lives, and returns the status its row has now; NULL, and
-- nothing is written, when the row is gone or its slot has another process: it registers again then.
-- p_known_status is what the worker last saw there: if the row says something else, an operator wrote
-- it, and it stays. What the sweep wrote about a silent worker ('error', 'stopped') is healed by any heartbeat,
-- and a worker that goes says so whatever stands there. p_last_error is all that is wrong with it now: '' takes back what it
-- said before, NULL leaves it. Raises FP015 for a row of another process.
CREATE OR REPLACE FUNCTION worker_heartbeat(
    p_incarnation uuid, p_known_status text, p_status text, p_last_error text, p_stats jsonb, p_token text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    now_status text;
    other_name text;
BEGIN
    UPDATE worker_registry w SET
        status = CASE WHEN p_status = 'stopped' OR w.status IN (p_known_status, 'error', 'stopped')
                      THEN p_status ELSE w.status END,
        last_heartbeat = clock_timestamp(),
        ended_at = CASE WHEN p_status = 'stopped' THEN clock_timestamp() END,
        last_error = CASE WHEN p_last_error IS NULL THEN w.last_error ELSE nullif(p_last_error, '') END,
        stats = coalesce((lasting_stats(w.stats) || p_stats) - 'replaced_by', w.stats),
        session_seen = w.session_seen OR worker_session_key(w.incarnation) = ANY (worker_sessions()),
        session_lost_at = NULL
    WHERE w.incarnation = p_incarnation AND is_own_row(w, p_token)
    RETURNING w.status INTO now_status;
    IF NOT FOUND THEN
        SELECT w.name INTO other_name FROM worker_registry w WHERE w.incarnation = p_incarnation;
        IF FOUND THEN
            RAISE EXCEPTION '% may not write the row of worker %', calling_role(), other_name USING
                ERRCODE = 'FP015', HINT = 'A process writes its own row only; an operator writes status as the owner.';
        END IF;
    END IF;
    RETURN now_status;
END
$$;

-- Notes whose session is gone, writes 'error' about workers that died or have been silent for so long, and forgets those
-- that ended a week ago, but not that an agent is to start none in a slot. Returns the names of the newly dead and silent. A
-- parked one that is gone stays `stopped`: it held nothing.
CREATE OR REPLACE FUNCTION mark_silent_workers(stale interval) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    DELETE FROM worker_registry
    WHERE status IN ('stopped', 'error') AND last_heartbeat < clock_timestamp() - interval '7 days'
      AND NOT (managed_by IS NOT NULL AND desired = 'stopped');
    UPDATE worker_registry SET session_lost_at = clock_timestamp()
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker_registry w
        WHERE w.session_seen AND w.session_lost_at IS NULL AND w.ended_at IS NULL
          AND worker_session_key(w.incarnation) <> ALL ((SELECT worker_sessions())::bigint[])
        FOR UPDATE SKIP LOCKED));
    UPDATE worker_registry SET
        status = 'error',
        last_error = CASE WHEN last_heartbeat < clock_timestamp() - stale
                          THEN format('silent since %s', date_trunc('second', last_heartbeat))
                          ELSE format('died at %s: its session is gone', date_trunc('second', session_lost_at)) END
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker_registry w
        WHERE w.status IN ('running', 'paused')
          AND (w.last_heartbeat < clock_timestamp() - stale OR w.incarnation = ANY ((SELECT dead_workers())::uuid[]))
        FOR UPDATE SKIP LOCKED))
    RETURNING name
$$;

REVOKE ALL ON FUNCTION mark_silent_workers(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb, text, text, boolean, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION report_worker(uuid, text, bigint, boolean, text, jsonb, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION worker_orders(uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION worker_heartbeat(uuid, text, text, text, jsonb, text) FROM PUBLIC;

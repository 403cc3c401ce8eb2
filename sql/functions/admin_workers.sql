-- What operators tell workers: SELECT control_worker('all-gas-topup-001', 'pause'). The process obeys within milliseconds of the
-- commit (NOTIFY workers), within two seconds where no NOTIFY arrives.
--
-- Guarantees: a command is told to the slot and holds for the processes that follow in it, too; `generation` is raised by each, and
-- `observed_generation` says when it was obeyed; triggers/worker_commands.sql writes admin_actions and notifies, also for an UPDATE
-- typed in psql. What nobody could obey is refused, with the command that has to be typed instead. The last worker that settles
-- payments is not stopped or paused while any are out, unless `anyway` says so.

-- The name of what starts the processes of a slot, for people: the exact command, and where.
CREATE OR REPLACE FUNCTION command_of(w worker_registry) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT format('flagpost %s%s', w.type, coalesce((
        SELECT string_agg(' --chain ' || btrim(name), '' ORDER BY place)
        FROM unnest(string_to_array(w.blockchain, ',')) WITH ORDINALITY AS served (name, place)), ''))
$$;

-- Whether a process has this slot now, parked ones included.
CREATE OR REPLACE FUNCTION has_process(w worker_registry) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT w.ended_at IS NULL AND w.last_heartbeat > clock_timestamp() - interval '60 seconds'
       AND coalesce(w.session_lost_at > clock_timestamp() - interval '5 seconds', true)
$$;

-- Whether the agent of that host (flagpost host) is there to start processes.
CREATE OR REPLACE FUNCTION has_agent(p_host text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM worker_registry a WHERE a.type = 'host' AND a.host = p_host AND has_process(a))
$$;

-- The slot of the agent of a host, where that was told to stop: it starts nothing there. NULL: it was not.
CREATE OR REPLACE FUNCTION agent_told_to_stop(p_host text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT min(a.id) FROM worker_registry a WHERE a.type = 'host' AND a.host = p_host AND a.desired = 'stopped' AND has_process(a)
$$;

-- Payments that are out and would be followed by nobody without this worker, or without all that the agent of a host runs where it is
-- one: none where another one follows them.
CREATE OR REPLACE FUNCTION payments_without(w worker_registry) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT count(*)
    FROM transfers t JOIN chains c ON c.id = t.chain_id
    WHERE w.type IN ('confirmations', 'host') AND t.state IN ('broadcasting', 'included', 'expired')
      AND EXISTS (
          SELECT FROM worker_registry f
          WHERE f.type = 'confirmations' AND serves_chain(f.blockchain, c.name)
            AND (f.id = w.id OR (w.type = 'host' AND f.managed_by = w.host AND f.desired = 'running')))
      AND NOT EXISTS (
          SELECT FROM worker_registry o
          WHERE o.type = 'confirmations' AND o.id <> w.id AND (w.type <> 'host' OR o.managed_by IS DISTINCT FROM w.host)
            AND o.desired = 'running' AND o.status = 'running' AND has_process(o) AND serves_chain(o.blockchain, c.name))
$$;

-- Raises FP019 where nobody would follow payments that are out without this worker. p_desired: what it is to be told.
CREATE OR REPLACE FUNCTION refuse_to_leave_payments(w worker_registry, p_desired text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    out_alone bigint := payments_without(w);
BEGIN
    IF out_alone > 0 THEN
        RAISE EXCEPTION '% is the last worker that follows payments, and % are out', w.id, out_alone USING
            ERRCODE = 'FP019',
            DETAIL = format('All the same: SELECT * FROM control_worker(%L, %L, anyway => true)', w.id,
                            CASE p_desired WHEN 'paused' THEN 'pause' ELSE 'stop' END),
            HINT = CASE p_desired WHEN 'paused' THEN 'They stay unsettled until one works again: flagpost workers resume ' || w.id
                                  ELSE 'They stay unsettled until one is started: flagpost workers start ' || w.id END;
    END IF;
END
$$;

-- Whether a worker limited to these chains (names with commas; NULL: all) serves that one.
CREATE OR REPLACE FUNCTION serves_chain(p_blockchain text, p_chain text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT p_blockchain IS NULL
        OR EXISTS (SELECT FROM unnest(string_to_array(p_blockchain, ',')) AS name WHERE btrim(name) = p_chain)
$$;

-- Tells one worker, by its slot:
--   pause    claims nothing, finishes what it holds        resume   goes on
--   stop     hands back what it holds and works no more    start    works again, also one that is paused or in error
--   restart  hands back and starts anew
-- Under `flagpost host` a stopped process ends, elsewhere it parks and waits to be started. Told twice, nothing changes. Raises P0002
-- for an unknown slot; FP003 where nobody can obey; FP019 for the last worker that follows payments which are out.
CREATE OR REPLACE FUNCTION control_worker(
    worker text, action text, anyway boolean DEFAULT false, admin uuid DEFAULT NULL
) RETURNS TABLE (slot text, status text, desired text, generation bigint, observed_generation bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    w worker_registry;
    wanted text := CASE action WHEN 'pause' THEN 'paused' WHEN 'stop' THEN 'stopped' ELSE 'running' END;
    again boolean := action = 'restart';
BEGIN
    IF action IS NULL OR action NOT IN ('pause', 'resume', 'stop', 'start', 'restart') THEN
        RAISE EXCEPTION 'no such action: %', coalesce(action, 'NULL') USING
            ERRCODE = '22023', HINT = 'The actions: pause, resume, stop, start, restart.';
    END IF;
    -- One command after the other: of two workers that follow payments, not both are stopped because the other one is there.
    PERFORM lock_row('commands to workers');
    SELECT * INTO w FROM worker_registry r WHERE r.id = control_worker.worker FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such worker: %', control_worker.worker USING
            ERRCODE = 'P0002', HINT = 'The workers by their slots: flagpost workers list';
    END IF;
    IF action = 'restart' AND w.desired = 'paused' THEN
        wanted := 'paused';
    END IF;

    IF action = 'stop' AND NOT has_process(w) THEN
        -- Nobody has to obey: its next process finds it stopped, and nobody waits for the one that is gone.
        NULL;
    ELSIF w.type <> 'host' AND w.stats ? 'replaced_by' AND NOT coalesce(has_agent(w.managed_by), false) THEN
        RAISE EXCEPTION 'the process of % was replaced by one in another slot', w.id USING
            ERRCODE = 'FP003', HINT = format('Tell that one: flagpost workers %s %s', action, w.stats ->> 'replaced_by');
    ELSIF w.type <> 'host' AND NOT has_process(w) AND NOT coalesce(has_agent(w.managed_by), false) THEN
        RAISE EXCEPTION 'no process has the slot %, and no agent starts one', w.id USING
            ERRCODE = 'FP003',
            HINT = CASE WHEN EXISTS (SELECT FROM worker_registry a WHERE a.type = 'host' AND has_process(a)
                                     AND a.config -> 'lines' ? rtrim(slot_prefix(w.blockchain, w.type), '-'))
                        THEN format('An agent starts one where there shall be more of them: flagpost workers scale %s NUMBER%s', w.type,
                                    ' --chain ' || nullif(replace(w.blockchain, ',', ' --chain '), ''))
                        ELSE format('On host %s: %s', coalesce(w.host, '(unknown)'), command_of(w)) END;
    ELSIF w.type <> 'host' AND action <> 'stop' AND NOT has_process(w) AND agent_told_to_stop(w.managed_by) IS NOT NULL THEN
        RAISE EXCEPTION 'no process has the slot %, and the agent of host % was told to stop', w.id, w.managed_by USING
            ERRCODE = 'FP003', HINT = format('Start that: flagpost workers start %s', agent_told_to_stop(w.managed_by));
    ELSIF w.type = 'host' AND NOT has_process(w) THEN
        RAISE EXCEPTION 'the agent % of host % does not run', w.id, w.host USING
            ERRCODE = 'FP003', HINT = format('On host %s: flagpost host', w.host);
    ELSIF w.observed_generation IS NULL AND has_process(w) AND action NOT IN ('pause', 'resume') THEN
        RAISE EXCEPTION '% is of a version that obeys pause and resume only', w.id USING
            ERRCODE = 'FP003', HINT = format('End the process (pid %s on host %s) and start this version: %s', w.pid, w.host, command_of(w));
    ELSIF action IN ('pause', 'resume') AND w.desired = 'stopped' THEN
        RAISE EXCEPTION '% is stopped', w.id USING
            ERRCODE = 'FP003', HINT = format('Start it: flagpost workers start %s', w.id);
    END IF;
    IF wanted <> 'running' AND w.desired = 'running' AND NOT coalesce(anyway, false) THEN
        PERFORM refuse_to_leave_payments(w, wanted);
    END IF;

    IF w.desired <> wanted OR w.stats ? 'replaced_by' OR again OR (action = 'start' AND w.status = 'error') THEN
        PERFORM act_for_admin(admin);
        PERFORM set_config('flagpost.anyway', CASE WHEN anyway THEN 'on' ELSE '' END, true);
        UPDATE worker_registry r SET
            desired = wanted, generation = r.generation + 1,
            restart_generation = CASE WHEN again THEN r.generation + 1 ELSE r.restart_generation END,
            -- What a process of the version before obeys.
            status = CASE WHEN r.observed_generation IS NULL AND has_process(r) THEN wanted
                          WHEN wanted = 'stopped' AND NOT has_process(r) THEN 'stopped' ELSE r.status END,
            observed_generation = CASE WHEN wanted = 'stopped' AND NOT has_process(r) THEN r.generation + 1
                                       ELSE r.observed_generation END
        WHERE r.id = w.id;
        PERFORM set_config('flagpost.anyway', '', true);
        PERFORM act_for_admin(NULL);
    END IF;
    RETURN QUERY SELECT r.id, r.status, r.desired, r.generation, r.observed_generation FROM worker_registry r WHERE r.id = w.id;
END
$$;
REVOKE ALL ON FUNCTION control_worker(text, text, boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION control_worker(text, text, boolean, uuid) IS
    'Tells a worker: SELECT control_worker(''all-gas-topup-001'', ''pause''); or resume, stop, start, restart';

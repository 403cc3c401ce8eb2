-- A command to a worker notifies `workers` with its slot and is written to admin_actions, whoever gives it: control_worker(), or an
-- operator who types UPDATE worker_registry SET status = 'paused', or desired.
--
-- A status that is written without a heartbeat is a command: running, paused or stopped, as the runbooks have it. 'error' is what
-- others say about a process, and a row without a process is told nothing by it: 'stopped' is a command only where the process's
-- session is there to hear it, so that who tidies up after a dead one does not stop the next one.

CREATE OR REPLACE FUNCTION take_worker_command() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NEW.desired = OLD.desired AND NEW.status <> OLD.status AND NEW.status IN ('running', 'paused', 'stopped')
       AND NEW.generation = OLD.generation AND NEW.incarnation = OLD.incarnation AND NEW.ended_at IS NULL AND has_process(OLD)
       AND (worker_session_key(OLD.incarnation) = ANY ((SELECT worker_sessions())::bigint[])
            OR (NOT OLD.session_seen AND NEW.status <> 'stopped')) THEN
        NEW.desired := NEW.status;
    ELSIF NEW.desired = OLD.desired AND NEW.status <> OLD.status AND NEW.status IN ('running', 'paused')
          AND NEW.generation = OLD.generation AND NEW.incarnation IS NOT DISTINCT FROM OLD.incarnation AND NOT has_process(OLD) THEN
        IF NEW.status = 'running' AND has_agent(OLD.managed_by) THEN
            NEW.desired := 'running';
            NEW.status := OLD.status;
        ELSE
            RAISE WARNING 'no process has the slot %: its status tells nobody anything', OLD.id USING
                HINT = format('SELECT * FROM control_worker(%L, ''start'') says what does.', OLD.id);
        END IF;
    END IF;
    -- The last one that follows payments is not stopped by a slip, whoever types what. A pause typed in psql is not refused: who stops
    -- everything in a hurry, in one UPDATE, has to be obeyed at once.
    IF NEW.desired = 'stopped' AND OLD.desired = 'running' AND current_setting('flagpost.anyway', true) IS DISTINCT FROM 'on' THEN
        PERFORM refuse_to_leave_payments(OLD, NEW.desired);
    END IF;
    IF NEW.desired <> OLD.desired AND NEW.generation = OLD.generation THEN
        NEW.generation := OLD.generation + 1;
    END IF;
    IF NEW.generation > OLD.generation THEN
        NEW.told_at := clock_timestamp();
        -- Told after its process was replaced: this is for the next one in the slot.
        NEW.stats := NEW.stats - 'replaced_by';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION tell_worker() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM notify_listeners('workers', NEW.id);
    IF NEW.observed_generation IS NULL THEN
        -- A process of the version before knows no such channel: it looks at its row with the heartbeat that follows this one.
        PERFORM notify_listeners('config', '{"table": "worker_registry", "keys": []}');
    END IF;
    PERFORM write_admin_action(
        'worker.' || CASE WHEN NEW.restart_generation > OLD.restart_generation THEN 'restart'
                          WHEN NEW.desired = 'paused' THEN 'pause'
                          WHEN NEW.desired = 'stopped' THEN 'stop'
                          WHEN OLD.desired = 'paused' THEN 'resume'
                          ELSE 'start' END,
        'worker', NEW.id,
        jsonb_build_object('before', jsonb_build_object('desired', OLD.desired, 'status', OLD.status),
                           'after', jsonb_build_object('desired', NEW.desired), 'generation', NEW.generation),
        nullif(current_setting('flagpost.admin_user_id', true), '')::uuid);
    RETURN NULL;
END
$$;

-- Heartbeats, and registrations, write last_heartbeat; commands do not.
CREATE OR REPLACE TRIGGER worker_commands_take BEFORE UPDATE ON worker_registry
FOR EACH ROW WHEN (OLD.last_heartbeat = NEW.last_heartbeat
                   AND (OLD.status <> NEW.status OR OLD.desired <> NEW.desired OR OLD.generation < NEW.generation))
EXECUTE FUNCTION take_worker_command();

CREATE OR REPLACE TRIGGER worker_commands_tell AFTER UPDATE ON worker_registry
FOR EACH ROW WHEN (OLD.last_heartbeat = NEW.last_heartbeat AND OLD.generation < NEW.generation)
EXECUTE FUNCTION tell_worker();

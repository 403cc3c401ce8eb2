-- The registry of processes, written through two functions so that a role which may write nothing
-- else (pipeline_sync) can still be seen alive.
--
-- Guarantees: a worker changes its own row only; what an operator wrote into `status` since the
-- worker last looked is never overwritten, but handed back to the worker; nobody is called dead whose session is there.

-- The advisory lock that a worker's LISTEN session holds for as long as it lives. Shared, so that the session which follows
-- a half-open one need not wait for it.
CREATE OR REPLACE FUNCTION worker_session_key(worker_id uuid) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT hashtextextended('flagpost: worker ' || worker_id::text, 0) $$;

-- The keys of all workers whose session is there. A process that is killed loses its sessions within milliseconds; one
-- that is frozen or cut off keeps them, and is judged by its heartbeats.
CREATE OR REPLACE FUNCTION worker_sessions() RETURNS bigint[]
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(array_agg(l.classid::bigint << 32 | l.objid::bigint), '{}')
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;

-- Workers that died: their session has been gone for 5 s, and they have not been heard of since it was missed. One that
-- lives is back within a second, and says that it lives every 2 s as long as it is not (pipeline/workers/runtime.py).
CREATE OR REPLACE FUNCTION dead_workers() RETURNS uuid[]
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(array_agg(w.id), '{}')
    FROM worker_registry w
    WHERE w.session_lost_at < clock_timestamp() - interval '5 seconds'
      AND worker_session_key(w.id) <> ALL ((SELECT worker_sessions())::bigint[])
$$;

-- Registers a process, or registers it again after its row was deleted. p_worker_id is drawn by the
-- worker, so that it survives a database that was restored under it.
CREATE OR REPLACE FUNCTION register_worker(
    p_worker_id uuid, p_name text, p_type text, p_blockchain text,
    p_pid integer, p_host text, p_port integer, p_config jsonb
) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO worker_registry (id, name, type, blockchain, pid, host, port, config, status, last_heartbeat)
    VALUES (p_worker_id, p_name, p_type, p_blockchain, p_pid, p_host, p_port, coalesce(p_config, '{}'),
            'running', clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET
        status = 'running', last_heartbeat = clock_timestamp(), last_error = NULL, config = excluded.config,
        session_lost_at = NULL
$$;

-- Says that a worker lives, and returns the status its row has now; NULL when the row is gone.
-- p_known_status is what the worker last saw there: if the row says something else, an operator wrote
-- it, and it stays. What the sweep wrote about a silent worker ('error', 'stopped') is healed by any heartbeat,
-- and a worker that goes says so whatever stands there.
CREATE OR REPLACE FUNCTION worker_heartbeat(
    p_worker_id uuid, p_known_status text, p_status text, p_last_error text, p_stats jsonb
) RETURNS text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE worker_registry SET
        status = CASE WHEN p_status = 'stopped' OR status IN (p_known_status, 'error', 'stopped')
                      THEN p_status ELSE status END,
        last_heartbeat = clock_timestamp(),
        last_error = coalesce(p_last_error, last_error),
        stats = coalesce(p_stats, stats),
        session_seen = session_seen OR worker_session_key(id) = ANY (worker_sessions()),
        session_lost_at = NULL
    WHERE id = p_worker_id
    RETURNING status
$$;

-- Notes whose session is gone, writes 'error' about workers that died or have been silent for so long, and forgets those
-- that ended a week ago. Returns the names of the newly dead and silent.
CREATE OR REPLACE FUNCTION mark_silent_workers(stale interval) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    DELETE FROM worker_registry
    WHERE status IN ('stopped', 'error') AND last_heartbeat < clock_timestamp() - interval '7 days';
    UPDATE worker_registry SET session_lost_at = clock_timestamp()
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker_registry w
        WHERE w.session_seen AND w.session_lost_at IS NULL AND w.status <> 'stopped'
          AND worker_session_key(w.id) <> ALL ((SELECT worker_sessions())::bigint[])
        FOR UPDATE SKIP LOCKED));
    UPDATE worker_registry SET
        status = 'error',
        last_error = CASE WHEN last_heartbeat < clock_timestamp() - stale
                          THEN format('silent since %s', date_trunc('second', last_heartbeat))
                          ELSE format('died at %s: its session is gone', date_trunc('second', session_lost_at)) END
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker_registry w
        WHERE w.status IN ('running', 'paused')
          AND (w.last_heartbeat < clock_timestamp() - stale OR w.id = ANY ((SELECT dead_workers())::uuid[]))
        FOR UPDATE SKIP LOCKED))
    RETURNING name
$$;

REVOKE ALL ON FUNCTION mark_silent_workers(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION worker_heartbeat(uuid, text, text, text, jsonb) FROM PUBLIC;

-- The registry of processes, written through two functions so that a role which may write nothing
-- else (pipeline_sync) can still be seen alive.
--
-- Guarantees: a worker changes its own row only; what an operator wrote into `status` since the
-- worker last looked is never overwritten, but handed back to the worker.

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
        status = 'running', last_heartbeat = clock_timestamp(), last_error = NULL, config = excluded.config
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
        stats = coalesce(p_stats, stats)
    WHERE id = p_worker_id
    RETURNING status
$$;

-- Writes 'error' about workers that have been silent for so long, and forgets those that ended a week ago.
-- Returns the names of the newly silent.
CREATE OR REPLACE FUNCTION mark_silent_workers(stale interval) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    DELETE FROM worker_registry
    WHERE status IN ('stopped', 'error') AND last_heartbeat < clock_timestamp() - interval '7 days';
    UPDATE worker_registry SET
        status = 'error', last_error = format('silent since %s', date_trunc('second', last_heartbeat))
    WHERE status IN ('running', 'paused') AND last_heartbeat < clock_timestamp() - stale
    RETURNING name
$$;

REVOKE ALL ON FUNCTION mark_silent_workers(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION worker_heartbeat(uuid, text, text, text, jsonb) FROM PUBLIC;

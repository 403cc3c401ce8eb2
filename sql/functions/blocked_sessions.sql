-- Who waits for a lock, and for whom: for processes that report it while it lasts, and for `doctor`.

-- Sessions of workers, and of the owner, that have waited for a lock for longer than that, with each session that keeps them
-- waiting. Times are NULL where the owner of this schema may not see them (pg_read_all_stats).
CREATE OR REPLACE FUNCTION blocked_sessions(longer_than interval)
RETURNS TABLE (
    pid integer, application_name text, waiting_since timestamptz,
    blocker integer, blocker_user name, blocker_application text, blocker_since timestamptz
)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT waiting.pid, waiting.application_name, blocked.since,
           blocking.pid, other.usename, other.application_name, other.xact_start
    FROM (
        SELECT l.pid, coalesce(min(l.waitstart), clock_timestamp()) AS since FROM pg_locks l WHERE NOT l.granted GROUP BY l.pid
    ) blocked
    JOIN pg_stat_activity waiting ON waiting.pid = blocked.pid
    CROSS JOIN LATERAL unnest(pg_blocking_pids(blocked.pid)) AS blocking (pid)
    JOIN pg_stat_activity other ON other.pid = blocking.pid
    WHERE blocked.since <= clock_timestamp() - longer_than
      AND waiting.datname = current_database() AND blocked.pid = ANY ((SELECT worker_pids())::integer[])
    ORDER BY blocked.since, waiting.pid, blocking.pid
    LIMIT 10
$$;

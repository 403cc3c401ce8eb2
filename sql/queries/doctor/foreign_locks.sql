-- Advisory locks of ours in the hands of logins that can be no worker, and sessions with so many locks that the server's table of
-- locks may fill up. None of them stops anything by itself (sql/functions/notify_suppression.sql, workers.sql).
WITH ours (key, what) AS (
    SELECT notify_lock(held_by), 'who needs wallet_flags (' || held_by || ')'
    FROM unnest(ARRAY['waiting', 'polling', 'suppressed']) AS held_by
    UNION ALL
    SELECT worker_session_key(w.incarnation), 'the session of ' || w.name FROM worker_registry w
), held AS (
    SELECT l.pid, l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AS is_advisory,
           l.classid::bigint << 32 | l.objid::bigint AS key
    FROM pg_locks l
    WHERE l.database IS NULL OR l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
)
SELECT a.pid, a.usename AS "user", a.application_name AS application, found.what, found.locks
FROM (
    SELECT h.pid, 'holds the lock of ' || string_agg(DISTINCT o.what, ', ') AS what, count(*) AS locks
    FROM held h
    JOIN ours o ON h.is_advisory AND o.key = h.key
    WHERE h.pid <> ALL ((SELECT worker_pids())::integer[])
    GROUP BY h.pid
    UNION ALL
    SELECT h.pid, format('holds %s locks', count(*)), count(*) FROM held h GROUP BY h.pid HAVING count(*) > 1000
) found
JOIN pg_stat_activity a ON a.pid = found.pid
ORDER BY found.locks DESC, a.pid
LIMIT 20;

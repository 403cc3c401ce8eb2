-- The processes: which are alive, which are silent, and whether NOTIFY reaches them.
-- psql -f sql/inspect/workers.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Workers (a heartbeat every 30 s; silent at 60 s)'
SELECT id AS slot, type, blockchain,
       CASE WHEN status IN ('running', 'paused') AND last_heartbeat < clock_timestamp() - interval '60 seconds'
            THEN status || ', silent' ELSE status END AS status,
       host, pid,
       date_trunc('second', clock_timestamp() - last_heartbeat) AS heartbeat,
       date_trunc('second', clock_timestamp() - created_at) AS age,
       (SELECT count(*) FROM job_logs j WHERE j.leased_by = w.incarnation AND j.completed_at IS NULL AND j.status = 'active') AS jobs,
       stats, last_error
FROM worker_registry w
WHERE status <> 'stopped' OR last_heartbeat > clock_timestamp() - interval '1 day'
ORDER BY type, status, id
LIMIT 100;

\echo 'Leaders: the one worker that may act (a lease lasts 30 s; a holder that died is replaced)'
SELECT l.name, w.id AS holder, l.lease, l.until > clock_timestamp() AS valid,
       date_trunc('second', clock_timestamp() - l.taken_at) AS since,
       date_trunc('second', clock_timestamp() - l.renewed_at) AS renewed
FROM leaderships l LEFT JOIN worker_registry w ON w.incarnation = l.holder
ORDER BY l.name;

\echo 'Sessions that wait for a lock, and the session that holds it'
SELECT * FROM blocked_sessions('1 second');

\echo 'Is the whole system paused? (no row: no)'
SELECT key, value, updated_at FROM system_config WHERE key = 'paused';

\echo 'Sessions of Flagpost in this database'
SELECT application_name, count(*) AS sessions, count(*) FILTER (WHERE state = 'active') AS active,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS in_transaction,
       max(date_trunc('second', clock_timestamp() - xact_start)) AS longest_transaction
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
GROUP BY application_name
ORDER BY application_name;

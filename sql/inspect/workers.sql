-- The processes: which are alive, which are silent, and whether NOTIFY reaches them.
-- psql -f sql/inspect/workers.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'The whole'
SELECT health, workers, failing, jobs_due, oldest_due, payments_out, oldest_payment,
       array_to_string(reasons, E'\n') AS reasons FROM system_health();

\echo 'Workers (a heartbeat every 30 s; silent at 60 s); desired is what operators told them'
SELECT h.slot, h.status, h.desired, h.health, concat_ws('; ', h.heartbeat, h.memory, h.progress, h.error_rate, h.disobeys) AS wrong,
       h.host, w.pid, w.managed_by,
       date_trunc('second', clock_timestamp() - h.last_heartbeat) AS heartbeat,
       date_trunc('second', clock_timestamp() - w.created_at) AS age,
       (SELECT count(*) FROM job_logs j WHERE j.leased_by = w.incarnation AND j.completed_at IS NULL AND j.status = 'active') AS jobs,
       w.stats, h.last_error
FROM worker_health() h JOIN worker_registry w ON w.id = h.slot
ORDER BY h.type, h.slot
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

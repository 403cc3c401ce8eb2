-- The processes: who lives, who is silent, and whether the doorbells reach them.
-- psql -f sql/inspect/workers.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Workers (silent at 60 s)'
SELECT name, type, blockchain,
       CASE WHEN status IN ('running', 'paused') AND last_heartbeat < clock_timestamp() - interval '60 seconds'
            THEN status || ', silent' ELSE status END AS status,
       host, pid,
       date_trunc('second', clock_timestamp() - last_heartbeat) AS heartbeat,
       date_trunc('second', clock_timestamp() - created_at) AS age,
       (SELECT count(*) FROM job_logs j WHERE j.leased_by = w.id AND j.status = 'active') AS jobs,
       stats, last_error
FROM worker_registry w
WHERE status <> 'stopped' OR last_heartbeat > clock_timestamp() - interval '1 day'
ORDER BY type, status, name
LIMIT 100;

\echo 'Paused?'
SELECT key, value, updated_at FROM system_config WHERE key = 'paused';

\echo 'Sessions of the project'
SELECT application_name, count(*) AS sessions, count(*) FILTER (WHERE state = 'active') AS active,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS in_transaction,
       max(date_trunc('second', clock_timestamp() - xact_start)) AS longest_transaction
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
GROUP BY application_name
ORDER BY application_name;

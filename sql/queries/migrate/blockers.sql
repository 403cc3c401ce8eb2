-- Sessions that hold locks of our tables, for which a migration may have to wait, the oldest transactions first.
SELECT a.pid, a.usename, a.application_name, a.xact_start, min(l.relation::regclass::text) AS relation
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ('public', 'flagpost_locks')
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
GROUP BY a.pid, a.usename, a.application_name, a.xact_start
ORDER BY a.xact_start NULLS LAST
LIMIT 3;

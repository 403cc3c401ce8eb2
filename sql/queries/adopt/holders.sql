-- Sessions that hold locks of the old tables, each of which a lock of ours would have to wait for.
SELECT DISTINCT a.pid, a.usename AS login, coalesce(nullif(a.application_name, ''), 'unknown') AS application
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.relation = ANY (ARRAY(SELECT to_regclass(format('public.%%I', name))::oid FROM unnest(%(names)s::text[]) AS name))
ORDER BY a.pid;

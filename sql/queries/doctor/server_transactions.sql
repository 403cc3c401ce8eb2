-- Transactions that have been open for %(open_seconds)s and hold a snapshot or a lock: vacuum takes nothing away meanwhile, and the queue
-- becomes several times slower.
SELECT a.pid, a.usename AS "user", a.application_name AS application, a.client_addr::text AS client,
       clock_timestamp() - a.xact_start AS since, a.state, left(a.query, 80) AS query, ARRAY[a.pid] AS ids
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start < clock_timestamp() - make_interval(secs => %(open_seconds)s)
  AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
ORDER BY a.xact_start
LIMIT 5

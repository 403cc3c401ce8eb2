-- The oldest open transaction that holds a snapshot, of sessions that this role may see, and the health of the whole as a number.
SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - min(a.xact_start)) FROM pg_stat_activity a
                 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
                   AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)), 0) AS value_transaction,
       array_position(ARRAY['Healthy', 'Paused', 'Degraded', 'Down'], s.health) - 1 AS value_health
FROM system_health() s

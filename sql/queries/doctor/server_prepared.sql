-- Prepared transactions (two-phase commit) that were left: they hold their locks and a snapshot until somebody ends them.
SELECT p.gid, p.owner, clock_timestamp() - p.prepared AS since, ARRAY[p.gid] AS ids
FROM pg_prepared_xacts p
WHERE p.database = current_database() AND p.prepared < clock_timestamp() - make_interval(secs => %(open_seconds)s)
ORDER BY p.prepared
LIMIT 5

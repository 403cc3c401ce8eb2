-- Replication slots that nobody reads, or that hold back vacuum: the disk fills with WAL, or with dead rows.
SELECT s.slot_name AS slot, s.slot_type, s.active,
       CASE WHEN s.wal_status = 'lost' THEN 'has lost WAL that its reader needs'
            WHEN NOT s.active THEN format('has no reader and keeps %%s of WAL', pg_size_pretty(kept.bytes))
            ELSE format('holds back vacuum by %%s transactions', kept.transactions) END AS what,
       CASE WHEN kept.bytes > 10::numeric * 1024 ^ 3 THEN 'fail' ELSE 'warn' END AS level,
       ARRAY[s.slot_name] AS ids
FROM pg_replication_slots s
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0) END AS bytes,
           greatest(age(s.xmin), age(s.catalog_xmin)) AS transactions
) kept
WHERE s.wal_status = 'lost' OR (NOT s.active AND kept.bytes > 64 * 1024 ^ 2) OR kept.transactions > 1000000
ORDER BY s.slot_name
LIMIT 5

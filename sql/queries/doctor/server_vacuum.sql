-- Where dead rows stay: autovacuum is off, for the server or for a table of ours; the ids of transactions run out.
SELECT 'autovacuum is off for the whole server' AS what, 'SET autovacuum = on in postgresql.conf, and reload' AS cure, 'warn' AS level,
       ARRAY[]::text[] AS ids
WHERE current_setting('autovacuum') = 'off' OR current_setting('track_counts') = 'off'
UNION ALL
SELECT format('autovacuum is off for %%s', c.relname), format('ALTER TABLE %%I RESET (autovacuum_enabled)', c.relname), 'warn',
       ARRAY[c.relname::text]
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
  AND c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off']
UNION ALL
SELECT format('%%s transaction ids are in use, of 2,100,000,000: writes stop at the end', age(d.datfrozenxid)),
       'find what holds vacuum back (old transactions, slots), then: VACUUM (FREEZE)',
       CASE WHEN age(d.datfrozenxid) > 1500000000 THEN 'fail' ELSE 'warn' END, ARRAY[d.datname::text]
FROM pg_database d
WHERE d.datname = current_database() AND age(d.datfrozenxid) > 1000000000

-- Foreign keys of the tables kept aside: they would keep a user from being deleted for the sake of a copy.
SELECT k.conname AS name, k.conrelid::regclass::text AS from_table
FROM pg_constraint k
JOIN pg_class source ON source.oid = k.conrelid AND source.relnamespace = to_regnamespace('adopted')
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY 2, 1;

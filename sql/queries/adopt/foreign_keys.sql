-- Foreign keys of other tables that refer to a table taken over.
SELECT k.conname AS name, k.conrelid::regclass::text AS from_table, target.relname AS target,
       pg_get_constraintdef(k.oid) AS definition,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey) ORDER BY a.attnum) AS columns
FROM pg_constraint k
JOIN pg_class target ON target.oid = k.confrelid AND target.relnamespace = to_regnamespace('adopted')
JOIN pg_class source ON source.oid = k.conrelid AND source.relnamespace <> to_regnamespace('adopted')
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY 2, 1;

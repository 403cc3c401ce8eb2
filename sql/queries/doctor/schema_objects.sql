-- What is installed, in the words of sql/manifest.txt: one row an object. `state`: what is wrong with it, empty if nothing is.
SELECT object.line, object.state
FROM (
    SELECT format('table %%s', c.relname) AS line,
           concat_ws(', ', CASE WHEN NOT c.relrowsecurity THEN 'row level security is off' END,
                     CASE WHEN c.relpersistence <> 'p' THEN 'unlogged: a crash empties it' END) AS state
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT format('constraint %%s %%s %%s', c.relname, k.conname,
                  CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key' ELSE 'check' END), ''
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = 'public'::regnamespace AND k.contype IN ('p', 'u', 'f', 'c')
    UNION ALL
    SELECT format('index %%s %%s %%s', c.relname, i.relname, CASE WHEN x.indisunique THEN 'unique' ELSE 'plain' END),
           CASE WHEN NOT x.indisvalid OR NOT x.indisready THEN 'not valid' ELSE '' END
    FROM pg_index x
    JOIN pg_class c ON c.oid = x.indrelid
    JOIN pg_class i ON i.oid = x.indexrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u'))
    UNION ALL
    -- tgtype says before or after, of a row or a statement, and at what (pg_trigger.h).
    SELECT format('trigger %%s %%s %%s %%s%%s', c.relname, t.tgname, p.proname, t.tgtype,
                  CASE WHEN t.tgqual IS NULL THEN '' ELSE ' when' END),
           CASE t.tgenabled WHEN 'O' THEN '' WHEN 'A' THEN '' WHEN 'R' THEN 'fires on replicas only' ELSE 'disabled' END
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('policy %%s %%s %%s %%s %%s %%s', p.tablename, p.policyname, p.cmd, array_to_string(p.roles, ','),
                  coalesce(p.qual, '-'), coalesce(p.with_check, '-')), ''
    FROM pg_policies p WHERE p.schemaname = 'public'
) object
ORDER BY object.line

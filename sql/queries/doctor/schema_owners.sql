-- Tables and functions of ours (%(tables)s, %(functions)s) that belong to somebody else than the ledger of migrations: functions
-- that act with their owner's rights could not do what they have to, or do it with another's rights.
SELECT owned.kind, owned.name, owned.owner, ledger.owner AS expected, ARRAY[owned.name] AS ids
FROM (
    SELECT 'table' AS kind, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s::text[])
    UNION ALL
    SELECT 'function', p.proname::text, pg_get_userbyid(p.proowner)::text
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname = ANY (%(functions)s::text[])
) owned
CROSS JOIN (
    SELECT pg_get_userbyid(c.relowner)::text AS owner FROM pg_class c
    WHERE c.oid = 'public.schema_migrations'::regclass
) ledger
WHERE owned.owner <> ledger.owner
ORDER BY owned.kind, owned.name
LIMIT 20

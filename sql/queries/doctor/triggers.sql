-- Every trigger of this project that is installed, and whether it fires.
SELECT t.tgname AS trigger, c.relname AS relation, t.tgenabled <> 'D' AS enabled
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname, t.tgname;

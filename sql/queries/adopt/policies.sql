-- Row level security of the old tables, each policy as CREATE POLICY takes it.
SELECT p.polname AS name, c.relname AS "table", c.relrowsecurity AS enabled, p.polpermissive AS permissive,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
       ARRAY(SELECT coalesce(quote_ident(pg_get_userbyid(nullif(role, 0))), 'PUBLIC') FROM unnest(p.polroles) AS role
             ORDER BY role) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using_expression, pg_get_expr(p.polwithcheck, p.polrelid) AS check_expression
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid AND c.relnamespace = to_regnamespace('adopted')
ORDER BY c.relname, p.polname;

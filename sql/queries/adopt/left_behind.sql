-- What stays with the old tables and has to be made anew by hand where it is wanted: triggers, views that show the old rows from
-- now on, publications, and rights of other logins.
SELECT 'trigger' AS kind, c.relname AS "table", pg_get_triggerdef(t.oid) AS what
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid AND c.relnamespace = to_regnamespace('adopted')
WHERE NOT t.tgisinternal
UNION ALL
SELECT DISTINCT 'view', c.relname, r.ev_class::regclass::text
FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass AND c.relnamespace = to_regnamespace('adopted')
WHERE r.ev_class <> c.oid
UNION ALL
SELECT 'publication', p.tablename, p.pubname::text FROM pg_publication_tables p WHERE p.schemaname = 'adopted'
UNION ALL
SELECT 'right', c.relname, string_agg(acl.privilege_type, ', ' ORDER BY acl.privilege_type) || ' of ' || grantee.name
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
CROSS JOIN LATERAL (SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee)::text END AS name) grantee
WHERE c.relnamespace = to_regnamespace('adopted') AND c.relkind IN ('r', 'p') AND acl.grantee <> c.relowner
GROUP BY c.relname, grantee.name
ORDER BY 1, 2, 3;

-- Who may create objects beside ours, in the schema public, and neither owns it nor the database nor our tables, nor is a superuser.
SELECT coalesce(r.rolname, 'PUBLIC') AS who
FROM pg_namespace n
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) acl
LEFT JOIN pg_roles r ON r.oid = acl.grantee
WHERE n.nspname = 'public' AND acl.privilege_type = 'CREATE' AND acl.grantee NOT IN (n.nspowner, d.datdba)
  AND acl.grantee <> (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('public.job_logs'))
  AND NOT coalesce(r.rolsuper, false)
ORDER BY 1

-- What could be called in place of ours in a session without our search_path (a person at psql, a program of somebody's own):
-- tables, views and functions named like ours in a schema named like a role that processes take, who may take one, who owns the
-- database or our tables, or a superuser;
-- and functions and operators in public that are not of who owns ours, nor of a superuser or an extension, and so may fit a call
-- better than ours do.
WITH owner AS (
    SELECT c.relowner AS oid FROM pg_class c WHERE c.oid = to_regclass('public.job_logs')
), ours AS (
    SELECT c.relname AS name FROM pg_class c, owner
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relowner = owner.oid
    UNION
    SELECT p.proname FROM pg_proc p, owner WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = owner.oid
), named_like_a_role AS (
    SELECT n.oid, n.nspname
    FROM pg_namespace n
    JOIN pg_roles r ON r.rolname = n.nspname
    JOIN pg_database d ON d.datname = current_database()
    CROSS JOIN owner
    WHERE n.nspname <> 'public'
      AND (r.rolsuper OR r.oid IN (owner.oid, d.datdba)
           OR EXISTS (SELECT FROM pg_roles processes
                      WHERE processes.rolname LIKE 'pipeline\_%%' AND pg_has_role(r.oid, processes.oid, 'MEMBER')))
)
SELECT format('%%I.%%I', n.nspname, c.relname) AS object, pg_get_userbyid(c.relowner) AS owned_by
FROM named_like_a_role n
JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
WHERE c.relname IN (SELECT name FROM ours)
UNION ALL
SELECT format('%%I.%%I', n.nspname, p.proname), pg_get_userbyid(p.proowner)
FROM named_like_a_role n
JOIN pg_proc p ON p.pronamespace = n.oid
WHERE p.proname IN (SELECT name FROM ours)
UNION ALL
SELECT p.oid::regprocedure::text, pg_get_userbyid(p.proowner)
FROM pg_proc p
CROSS JOIN owner
JOIN pg_roles r ON r.oid = p.proowner
WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> owner.oid AND NOT r.rolsuper
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT o.oid::regoperator::text, pg_get_userbyid(o.oprowner)
FROM pg_operator o
CROSS JOIN owner
JOIN pg_roles r ON r.oid = o.oprowner
WHERE o.oprnamespace = 'public'::regnamespace AND o.oprowner <> owner.oid AND NOT r.rolsuper
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e')
ORDER BY 1
LIMIT 20

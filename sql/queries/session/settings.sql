-- How a session is set: whom it acts as, who logged in, in which database, by which process; and of these settings the value, in the units of
-- pg_settings, and whether the session may change it. Settings that this server does not know are left out.
-- Asked before the search path is known to be ours: everything is named with its schema.
SELECT 'role', current_user::pg_catalog.text, false
UNION ALL
SELECT 'login', session_user::pg_catalog.text, false
UNION ALL
SELECT 'database', pg_catalog.current_database()::pg_catalog.text, false
UNION ALL
SELECT 'pid', pg_catalog.pg_backend_pid()::pg_catalog.text, false
UNION ALL
SELECT s.name, s.setting,
       s.context OPERATOR(pg_catalog.=) 'user'
       OR (s.context OPERATOR(pg_catalog.=) 'superuser' AND pg_catalog.has_parameter_privilege(s.name, 'SET'))
FROM pg_catalog.pg_settings s
WHERE s.name OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])

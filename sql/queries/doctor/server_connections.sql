-- Limits of connections that are nearly reached: of the server, of this database, of this login.
SELECT l.name AS "limit", l.used, l.most, CASE WHEN l.used >= l.most - 2 THEN 'fail' ELSE 'warn' END AS level
FROM (
    SELECT 'max_connections' AS name, count(*) AS used,
           current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
               - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most
    FROM pg_stat_activity a WHERE a.backend_type = 'client backend'
    UNION ALL
    SELECT format('CONNECTION LIMIT of database %%s', d.datname), count(a.pid), d.datconnlimit
    FROM pg_database d LEFT JOIN pg_stat_activity a ON a.datid = d.oid AND a.backend_type = 'client backend'
    WHERE d.datname = current_database() AND d.datconnlimit >= 0
    GROUP BY d.datname, d.datconnlimit
    UNION ALL
    SELECT format('CONNECTION LIMIT of role %%s', r.rolname), count(a.pid), r.rolconnlimit
    FROM pg_roles r LEFT JOIN pg_stat_activity a ON a.usesysid = r.oid AND a.backend_type = 'client backend'
    WHERE r.rolname = session_user AND r.rolconnlimit >= 0
    GROUP BY r.rolname, r.rolconnlimit
) l
WHERE l.used >= 0.9 * l.most

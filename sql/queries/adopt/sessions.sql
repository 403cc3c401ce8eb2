-- Other sessions of this database: a worker of the runbooks among them goes on with the tables that it finds under the old names.
SELECT a.usename AS login, coalesce(nullif(a.application_name, ''), 'unknown') AS application, count(*) AS sessions
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
GROUP BY 1, 2
ORDER BY 1, 2;

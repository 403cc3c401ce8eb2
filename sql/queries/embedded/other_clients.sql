-- How many of our own processes are still connected, in any database of the server. A person's psql is not
-- counted: nobody should have to close it before the server can stop.
SELECT count(*)
FROM pg_stat_activity
WHERE backend_type = 'client backend'
  AND application_name LIKE 'flagpost%'
  AND pid <> pg_backend_pid();

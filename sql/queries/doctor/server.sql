-- The server in one row: version, whose session, what time it is.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_database() AS database,
       current_user AS "user",
       clock_timestamp() AS clock,
       to_regclass('public.job_logs') IS NOT NULL AS has_schema;

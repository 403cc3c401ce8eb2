-- The server in one row: version, whose session, and the oldest open transaction.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_database() AS database,
       current_user AS "user",
       (SELECT max(clock_timestamp() - xact_start)
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL) AS oldest_transaction,
       to_regclass('public.job_logs') IS NOT NULL AS has_schema;

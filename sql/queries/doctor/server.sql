-- The server in one row: version, whose session, whether it takes writes, how full the notification queue is.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_database() AS database,
       current_user AS "user",
       pg_is_in_recovery() AS standby,
       current_setting('transaction_read_only') = 'on' AS read_only,
       pg_notification_queue_usage() AS notification_queue,
       clock_timestamp() AS clock,
       to_regclass('public.job_logs') IS NOT NULL AS has_schema;

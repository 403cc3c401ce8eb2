-- Who migrates what: for the messages.
SELECT current_user::text, current_database()::text, current_setting('server_version_num')::integer;

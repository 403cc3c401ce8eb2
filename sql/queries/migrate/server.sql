-- Who migrates what, and whether triggers fire for him: what a migration writes is checked by them, too.
SELECT current_user::text, current_database()::text, current_setting('server_version_num')::integer,
       current_setting('session_replication_role') <> 'replica';

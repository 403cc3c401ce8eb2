-- Settings of the migrating transaction. Functions may refer to views that come after them; tables are created in
-- public whatever the search_path of the user; and nobody queues for long behind a migration that waits for a lock.
SET LOCAL check_function_bodies = off;
SET LOCAL search_path = public, pg_temp;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL client_min_messages = warning;

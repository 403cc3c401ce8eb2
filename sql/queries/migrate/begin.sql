-- Settings of the migrating transaction. Functions may refer to views that come after them; and nobody queues for long behind
-- a migration that waits for a lock.
-- Our sessions search pg_catalog first and say so; then nothing can be created, because that would go into the first schema
-- that is named. Here public is the first, and pg_catalog, which is not named, is searched before it all the same.
SET LOCAL check_function_bodies = off;
SET LOCAL search_path = public, pg_temp;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL client_min_messages = warning;
-- Of which each session with a temporary table gets all at once.
SET LOCAL temp_buffers = '8MB';

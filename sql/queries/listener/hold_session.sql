-- Marks this session as the one by which others know that a worker lives: the lock ends with the session and not before. False:
-- somebody else holds it alone, which can only be meant to do harm.
SELECT pg_try_advisory_lock_shared(worker_session_key(%(worker_id)s));

-- Marks this session as the one by which others know that a worker lives: the lock ends with the session and not before.
SELECT pg_advisory_lock_shared(worker_session_key(%(worker_id)s));

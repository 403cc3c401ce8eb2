-- The agent of a host whose session is there, in another process than this one, which may be beginning anew in its own place.
SELECT w.id AS slot, w.pid, to_char(w.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since
FROM worker_registry w
WHERE w.type = 'host' AND w.host = %(host)s AND w.pid IS DISTINCT FROM %(pid)s AND w.ended_at IS NULL
  AND worker_session_key(w.incarnation) = ANY ((SELECT worker_sessions())::bigint[])
LIMIT 1

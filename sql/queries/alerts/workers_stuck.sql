-- Processes that are to run and do not: no heartbeat for 60 s, or called dead by another one, within a day. One that said that it
-- ends is not among them, nor one that was told to pause or to stop.
SELECT w.id AS slot, w.name, w.host, w.type, now() - w.last_heartbeat AS since,
       command_of(w) AS command,
       CASE WHEN w.status = 'error' THEN coalesce(w.last_error, 'status error') ELSE 'no heartbeat' END AS why
FROM worker_registry w
WHERE w.desired = 'running' AND w.ended_at IS NULL AND w.status <> 'stopped'
  AND (w.status = 'error' OR w.last_heartbeat < now() - interval '60 seconds')
  AND w.last_heartbeat > now() - interval '1 day'
ORDER BY w.last_heartbeat
LIMIT 50

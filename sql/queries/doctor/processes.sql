-- Processes that should be alive, by type: how many are, how many went silent (no heartbeat for 60 s).
SELECT type,
       count(*) FILTER (WHERE last_heartbeat >= now() - interval '60 seconds') AS alive,
       count(*) FILTER (WHERE last_heartbeat < now() - interval '60 seconds') AS silent,
       count(*) FILTER (WHERE status = 'paused') AS paused,
       count(*) FILTER (WHERE status = 'error') AS in_error,
       max(last_error) FILTER (WHERE status = 'error') AS last_error
FROM worker_registry
WHERE status <> 'stopped' AND last_heartbeat > now() - interval '1 day'
GROUP BY type
ORDER BY type;

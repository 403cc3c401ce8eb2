-- Processes whose last heartbeat lies in the future: they count as alive until then, whatever becomes of them.
SELECT w.name, w.last_heartbeat - now() AS ahead, w.last_heartbeat::text AS last_heartbeat, ARRAY[w.id] AS ids
FROM worker_registry w
WHERE w.status <> 'stopped' AND w.last_heartbeat > now() + interval '1 minute'
ORDER BY w.last_heartbeat DESC
LIMIT 20

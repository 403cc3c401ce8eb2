-- Workers by type: how many live and shall, how many are paused, stopped, or fail a check.
SELECT h.type,
       count(*) FILTER (WHERE h.heartbeat IS NULL AND h.desired <> 'stopped') AS alive,
       count(*) FILTER (WHERE h.desired <> 'stopped') AS wanted,
       count(*) FILTER (WHERE h.health = 'paused') AS paused,
       count(*) FILTER (WHERE h.desired = 'stopped') AS stopped,
       count(*) FILTER (WHERE h.health IN ('warning', 'unhealthy')) AS failing
FROM worker_health() h
GROUP BY h.type
ORDER BY h.type

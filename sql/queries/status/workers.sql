-- Workers by type: how many live and shall, how many are paused, stopped, or fail a check. What a system needs is named where none is.
SELECT type,
       count(h.slot) FILTER (WHERE h.heartbeat IS NULL AND h.desired <> 'stopped') AS alive,
       count(h.slot) FILTER (WHERE h.desired <> 'stopped') AS wanted,
       count(h.slot) FILTER (WHERE h.health = 'paused') AS paused,
       count(h.slot) FILTER (WHERE h.desired = 'stopped') AS stopped,
       count(h.slot) FILTER (WHERE h.health IN ('warning', 'unhealthy')) AS failing
FROM unnest(ARRAY['sync', 'gas-topup', 'consolidation', 'confirmations', 'sweep']) AS needed (type)
FULL JOIN worker_health() h USING (type)
GROUP BY type
ORDER BY type

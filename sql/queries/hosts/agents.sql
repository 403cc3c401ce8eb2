-- The agents of hosts that can run workers of a type for these chains ('': all), for who scales it.
SELECT w.host FROM worker_registry w
WHERE w.type = 'host' AND w.ended_at IS NULL AND w.last_heartbeat > now() - interval '60 seconds'
  AND w.config -> 'lines' ? rtrim(slot_prefix(nullif(%(blockchain)s, ''), %(type)s), '-')
ORDER BY w.host

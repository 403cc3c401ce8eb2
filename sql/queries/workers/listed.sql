-- Workers as people look at them: those that have a process or shall have one, and with %(ended)s those that ended, too.
SELECT w.id AS slot, w.type, w.blockchain, w.host, w.pid, w.port, w.status, w.desired, w.generation, w.observed_generation, w.managed_by,
       w.last_heartbeat, w.last_error, has_process(w) AS has_process, stat_number(w.stats, 'memory_bytes')::bigint AS memory_bytes,
       stat_number(w.stats, 'held')::bigint AS held, w.created_at, w.config ->> 'metrics_host' AS metrics_host
FROM worker_registry w
WHERE (%(host)s::text IS NULL OR w.host = %(host)s OR w.managed_by = %(host)s)
  AND (%(type)s::text IS NULL OR w.type = %(type)s)
  AND (%(slots)s::text[] IS NULL OR w.id = ANY (%(slots)s))
  AND (%(ended)s OR has_process(w) OR w.managed_by IS NOT NULL OR w.status = 'error' AND w.last_heartbeat > now() - interval '1 day')
ORDER BY w.type, w.id

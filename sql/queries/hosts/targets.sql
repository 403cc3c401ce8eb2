-- How many workers there shall be, by type, chains and host, and how many processes there are of each.
SELECT t.type, t.blockchain, t.host, t.workers, t.set_by, t.set_at,
       (SELECT count(*) FROM worker_registry w
        WHERE w.type = t.type AND slot_prefix(w.blockchain, w.type) = slot_prefix(nullif(t.blockchain, ''), t.type)
          AND w.ended_at IS NULL AND w.status IN ('running', 'paused') AND w.last_heartbeat > now() - interval '60 seconds'
          AND t.host IN ('', w.host)) AS alive
FROM worker_targets t
ORDER BY t.type, t.blockchain, t.host

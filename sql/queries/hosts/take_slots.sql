-- Takes and gives back slots as they are wanted now; all that this agent has, and what the process in it has said. A slot that is
-- entered by this statement has no process.
SELECT t.slot, t.type, t.blockchain, t.desired, t.generation, t.pid, t.kept, t.free,
       coalesce(w.restart_generation, 0) AS restart_generation, w.incarnation, w.last_heartbeat AS heartbeat,
       w.observed_generation AS observed,
       CASE WHEN w.last_heartbeat < clock_timestamp() - interval '20 seconds' THEN slot_is_locked(t.slot) ELSE false END AS locked
FROM take_slots(%(incarnation)s, %(token)s, %(lines)s, %(running)s) t
LEFT JOIN worker_registry w ON w.id = t.slot

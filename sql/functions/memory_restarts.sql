-- How often the processes of a slot began anew for their memory, in a row (pipeline/workers/memory.py). Each says so in its row's stats,
-- where the next process of the slot finds it, however that was started.
--
-- Guarantees: reads only; 0 for a process without a slot, or where the row says no such number.
CREATE OR REPLACE FUNCTION memory_restarts(p_incarnation uuid) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce((
        SELECT least(1000, coalesce(stat_number(w.stats, 'memory_restarts'), 0))::integer
        FROM worker_registry w
        WHERE w.incarnation = p_incarnation), 0)
$$;
REVOKE ALL ON FUNCTION memory_restarts(uuid) FROM PUBLIC;

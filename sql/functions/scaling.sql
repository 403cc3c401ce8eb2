-- Auto-scaling: how many workers of a type there shall be, by how much work is due. Off until system_config says an engine:
-- `agent` (flagpost host starts and ends them) or `keda` (Kubernetes asks desired_workers()).
--
-- Guarantees: the number stays between scaling.min_workers and scaling.max_workers, and changes once in scaling.cooldown_seconds
-- at the most, whoever evaluates and how many at once (under a lock); each change is written to admin_actions with its reason. Where
-- a person has set a number (scale_workers), scaling goes on from there after the cooldown. A change that lies further
-- ahead than that was written by a wrong clock, and holds nothing up. What waits for the chain is no work for a worker, and is not counted.

-- A number of system_config: the row of the key, else its part of the section's row, else the default; also where a row is no number.
CREATE OR REPLACE FUNCTION config_number(p_section text, p_name text, p_default numeric) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT (c.value #>> '{}')::numeric FROM system_config c
         WHERE c.key = p_section || '.' || p_name AND jsonb_typeof(c.value) = 'number'),
        (SELECT (c.value ->> p_name)::numeric FROM system_config c
         WHERE c.key = p_section AND jsonb_typeof(c.value -> p_name) = 'number'),
        p_default)
$$;

-- What scales the workers: off, agent or keda.
CREATE OR REPLACE FUNCTION scaling_engine() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT c.value #>> '{}' FROM system_config c WHERE c.key = 'scaling.engine' AND c.value #>> '{}' IN ('off', 'agent', 'keda')),
        (SELECT c.value ->> 'engine' FROM system_config c WHERE c.key = 'scaling' AND c.value ->> 'engine' IN ('off', 'agent', 'keda')),
        'off')
$$;

-- One decision, from numbers alone: how many workers there shall be, and why. p_since: since when the number stands; NULL: no change is
-- known.
CREATE OR REPLACE FUNCTION scaling_step(
    p_depth bigint, p_workers integer, p_since interval, p_min integer, p_max integer,
    p_up_above bigint, p_up_by integer, p_down_below bigint, p_down_by integer, p_cooldown interval
) RETURNS TABLE (wanted integer, reason text)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN p_workers < p_min THEN p_min
                WHEN p_workers > p_max THEN p_max
                WHEN cooling THEN p_workers
                WHEN p_depth > p_up_above THEN least(p_max, p_workers + p_up_by)
                WHEN p_depth < p_down_below THEN greatest(p_min, p_workers - p_down_by)
                ELSE p_workers END,
           CASE WHEN p_workers < p_min THEN format('fewer than scaling.min_workers (%s)', p_min)
                WHEN p_workers > p_max THEN format('more than scaling.max_workers (%s)', p_max)
                WHEN cooling THEN format('changed %s s ago, scaling.cooldown_seconds are %s',
                                         greatest(0, floor(extract(epoch FROM p_since))), floor(extract(epoch FROM p_cooldown)))
                WHEN p_depth > p_up_above AND p_workers = p_max THEN format('%s jobs are due, and %s workers are the most', p_depth, p_max)
                WHEN p_depth > p_up_above THEN format('%s jobs are due, more than %s', p_depth, p_up_above)
                WHEN p_depth < p_down_below AND p_workers = p_min THEN format('%s jobs are due, and %s workers are the fewest', p_depth, p_min)
                WHEN p_depth < p_down_below THEN format('%s jobs are due, fewer than %s', p_depth, p_down_below)
                ELSE format('%s jobs are due, between %s and %s', p_depth, p_down_below, p_up_above) END
    FROM (SELECT coalesce(p_since > -p_cooldown AND p_since < p_cooldown, false) AS cooling) c
$$;

-- What auto-scaling would do now, for each type that scales and each group of chains that its workers are limited to ('': all others).
-- Writes nothing: SELECT * FROM scaling_decisions(). `depth` is how many jobs are due, counted up to 10,000; `workers` is how many there
-- shall be at present: the target, else those that live.
CREATE OR REPLACE FUNCTION scaling_decisions(p_now timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (type text, blockchain text, depth bigint, workers integer, wanted integer, reason text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH rules AS MATERIALIZED (
        SELECT least(n.fewest, n.most) AS fewest, n.most, n.up_above, n.up_by, n.down_below, n.down_by, n.cooldown, n.paused
        FROM (
            SELECT config_number('scaling', 'min_workers', 1)::integer AS fewest,
                   config_number('scaling', 'max_workers', 10)::integer AS most,
                   config_number('scaling', 'up_above', 50)::bigint AS up_above,
                   config_number('scaling', 'up_by', 2)::integer AS up_by,
                   config_number('scaling', 'down_below', 5)::bigint AS down_below,
                   config_number('scaling', 'down_by', 1)::integer AS down_by,
                   config_number('scaling', 'cooldown_seconds', 300)::double precision * interval '1 second' AS cooldown,
                   EXISTS (SELECT FROM system_config c WHERE c.key = 'paused' AND c.value = 'true') AS paused
        ) n
    ), scaled (type) AS (
        VALUES ('gas-topup'), ('consolidation')
    ), alive AS (
        SELECT w.type, coalesce(w.blockchain, '') AS blockchain, count(*)::integer AS workers
        FROM worker_registry w
        WHERE w.desired = 'running' AND has_process(w)
        GROUP BY w.type, coalesce(w.blockchain, '')
    ), groups AS (
        SELECT s.type, g.blockchain
        FROM scaled s
        CROSS JOIN LATERAL (
            SELECT t.blockchain FROM worker_targets t WHERE t.type = s.type AND t.host = ''
            UNION SELECT a.blockchain FROM alive a WHERE a.type = s.type
        ) g
    ), counted AS (
        SELECT g.type, g.blockchain, (
            SELECT count(*) FROM (
                SELECT FROM job_logs j LEFT JOIN chains c ON c.id = j.chain_id
                WHERE j.job_type = g.type AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
                  AND j.run_at <= p_now
                  AND CASE WHEN g.blockchain <> '' THEN serves_chain(g.blockchain, c.name)
                           ELSE NOT EXISTS (SELECT FROM groups o WHERE o.type = g.type AND o.blockchain <> ''
                                                                   AND serves_chain(o.blockchain, c.name)) END
                LIMIT 10000) due) AS depth
        FROM groups g
    )
    SELECT d.type, d.blockchain, d.depth, n.workers,
           CASE WHEN r.paused THEN n.workers ELSE s.wanted END,
           CASE WHEN r.paused THEN 'the system is paused' ELSE s.reason END
    FROM counted d
    CROSS JOIN rules r
    LEFT JOIN worker_targets t ON t.type = d.type AND t.blockchain = d.blockchain AND t.host = ''
    LEFT JOIN alive a ON a.type = d.type AND a.blockchain = d.blockchain
    CROSS JOIN LATERAL (SELECT coalesce(t.workers, a.workers, 0) AS workers) n
    CROSS JOIN LATERAL scaling_step(
        d.depth, n.workers, p_now - t.set_at, r.fewest, r.most, r.up_above, r.up_by, r.down_below, r.down_by, r.cooldown) s
    ORDER BY d.type, d.blockchain
$$;

-- Carries the decisions out, and returns those that changed something. Nothing while the engine is off.
CREATE OR REPLACE FUNCTION scale_by_load(p_now timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (type text, blockchain text, depth bigint, workers integer, wanted integer, reason text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    decided record;
BEGIN
    IF scaling_engine() = 'off' THEN
        RETURN;
    END IF;
    -- Two that evaluate at once: the second one sees the first one's change, and its cooldown.
    PERFORM lock_row('worker targets');
    FOR decided IN SELECT d.* FROM scaling_decisions(p_now) d WHERE d.wanted <> d.workers LOOP
        INSERT INTO worker_targets AS t (type, blockchain, host, workers, set_by, set_at)
        VALUES (decided.type, decided.blockchain, '', decided.wanted, 'scaling', p_now)
        ON CONFLICT (type, blockchain, host) DO UPDATE SET workers = excluded.workers, set_by = 'scaling', set_at = excluded.set_at;
        PERFORM write_admin_action('workers.autoscale', 'worker_type', decided.type, jsonb_build_object(
            'blockchain', decided.blockchain, 'before', decided.workers, 'after', decided.wanted,
            'depth', decided.depth, 'reason', decided.reason), NULL);
        PERFORM notify_listeners('workers', '');
        type := decided.type;
        blockchain := decided.blockchain;
        depth := decided.depth;
        workers := decided.workers;
        wanted := decided.wanted;
        reason := decided.reason;
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION scale_by_load(timestamptz) FROM PUBLIC;

-- How many workers of a type there shall be, for KEDA's postgresql scaler: the target, else the fewest.
CREATE OR REPLACE FUNCTION desired_workers(p_type text, p_blockchain text DEFAULT '') RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(
        (SELECT t.workers FROM worker_targets t WHERE t.type = p_type AND t.blockchain = p_blockchain AND t.host = ''),
        config_number('scaling', 'min_workers', 1)::integer)
$$;
COMMENT ON FUNCTION desired_workers(text, text) IS 'What KEDA asks: SELECT desired_workers(''gas-topup'')';

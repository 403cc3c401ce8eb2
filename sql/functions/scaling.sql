-- Auto-scaling: how many workers of a type there shall be, by how much work is due. Off until system_config says an engine:
-- `agent` (flagpost host starts and ends them) or `keda` (Kubernetes asks desired_workers()).
--
-- Guarantees: the number stays between scaling.min_workers and scaling.max_workers, and changes once in scaling.cooldown_seconds
-- at the most, whoever evaluates and how many at once (under a lock); each change is written to admin_actions with its reason. Where
-- a person has set a number (scale_workers), scaling goes on from there after the cooldown, and leaves 0 as it is; where a person told
-- all of them to stop or to pause, it starts no others. A change that lies further ahead than the cooldown was written by a wrong clock,
-- and holds nothing up. What waits for the chain is no work for a worker, nor is a job of a chain that is off: neither is counted.

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

-- A setting of the section scaling. A value that flagpost config set would refuse, written in psql, leaves the default in force: an
-- error here would end the sweep.
CREATE OR REPLACE FUNCTION scaling_number(p_name text, p_default numeric, p_least numeric, p_most numeric) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN given.value BETWEEN p_least AND p_most THEN given.value ELSE p_default END
    FROM (SELECT config_number('scaling', p_name, p_default) AS value) given
$$;

-- The names of chains with commas, each once and in one order, so that 'tron, bsc' and 'bsc,tron' are the same; '' for NULL: all.
CREATE OR REPLACE FUNCTION chain_group(p_blockchain text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(string_agg(chain.name, ',' ORDER BY chain.name COLLATE "C"), '')
    FROM (SELECT DISTINCT btrim(name) AS name FROM unnest(string_to_array(p_blockchain, ',')) AS name WHERE btrim(name) <> '') chain
$$;

-- What auto-scaling would do now, for each type that scales and each group of chains that its workers are limited to ('': all others).
-- Writes nothing: SELECT * FROM scaling_decisions(). `depth` is how many jobs are due, counted up to 10,000; `workers` is how many there
-- shall be at present: the target, else those that live (on hosts without a number of their own). jit = off: whoever asks,
-- KEDA or a person in psql, may have a session that compiles the plan, which takes a second of work for a few milliseconds.
CREATE OR REPLACE FUNCTION scaling_decisions(p_now timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (type text, blockchain text, depth bigint, workers integer, wanted integer, reason text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
SET jit = off
AS $$
    WITH rules AS MATERIALIZED (
        SELECT least(n.fewest, n.most) AS fewest, n.most, n.up_above, n.up_by, n.down_below, n.down_by, n.cooldown, n.paused
        FROM (
            SELECT scaling_number('min_workers', 1, 1, 200)::integer AS fewest,
                   scaling_number('max_workers', 10, 1, 200)::integer AS most,
                   scaling_number('up_above', 50, 1, 1000000)::bigint AS up_above,
                   scaling_number('up_by', 2, 1, 100)::integer AS up_by,
                   scaling_number('down_below', 5, 0, 1000000)::bigint AS down_below,
                   scaling_number('down_by', 1, 1, 100)::integer AS down_by,
                   scaling_number('cooldown_seconds', 300, 0.001, 604800)::double precision * interval '1 second' AS cooldown,
                   EXISTS (SELECT FROM system_config c WHERE c.key = 'paused' AND c.value = 'true') AS paused
        ) n
    ), scaled (type) AS (
        VALUES ('gas-topup'), ('consolidation')
    ), targets AS (
        SELECT DISTINCT ON (t.type, chain_group(t.blockchain)) t.*, chain_group(t.blockchain) AS chains
        FROM worker_targets t WHERE t.host = ''
        ORDER BY t.type, chain_group(t.blockchain), t.set_at DESC
    ), alive AS (
        SELECT w.type, chain_group(w.blockchain) AS chains, count(*)::integer AS workers
        FROM worker_registry w
        WHERE w.desired = 'running' AND has_process(w)
          AND NOT EXISTS (SELECT FROM worker_targets t
                          WHERE t.type = w.type AND t.host = w.host AND chain_group(t.blockchain) = chain_group(w.blockchain))
        GROUP BY w.type, chain_group(w.blockchain)
    ), told AS (
        -- Those that a person told to stop or to pause. What nobody can start any more is not among them.
        SELECT w.type, chain_group(w.blockchain) AS chains, count(*)::integer AS workers, bool_and(w.desired = 'paused') AS paused
        FROM worker_registry w
        WHERE told_in_slot(w) <> 'running' AND (has_process(w) OR has_agent(w.managed_by))
          AND NOT EXISTS (SELECT FROM worker_targets t
                          WHERE t.type = w.type AND t.host = w.host AND chain_group(t.blockchain) = chain_group(w.blockchain))
        GROUP BY w.type, chain_group(w.blockchain)
    ), groups AS (
        SELECT s.type, g.chains, bool_or(g.counts) AS counts
        FROM scaled s
        CROSS JOIN LATERAL (
            SELECT t.chains, true AS counts FROM targets t WHERE t.type = s.type
            UNION ALL SELECT a.chains, true FROM alive a WHERE a.type = s.type
            UNION ALL SELECT o.chains, false FROM told o WHERE o.type = s.type
        ) g
        GROUP BY s.type, g.chains
    ), serving AS (
        SELECT g.type, g.chains, ARRAY(
            SELECT c.id FROM chains c
            WHERE c.is_active
              AND CASE WHEN g.chains <> '' THEN serves_chain(g.chains, c.name)
                       ELSE NOT EXISTS (SELECT FROM groups o
                                        WHERE o.type = g.type AND o.counts AND o.chains <> '' AND serves_chain(o.chains, c.name)) END
        ) AS chain_ids
        FROM groups g
    ), counted AS (
        SELECT s.type, s.chains, (
            SELECT count(*) FROM (
                SELECT FROM job_logs j
                WHERE j.job_type = s.type AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
                  AND j.run_at <= p_now AND j.chain_id = ANY (s.chain_ids)
                LIMIT 10000) due) AS depth
        FROM serving s
    )
    SELECT d.type, coalesce(t.blockchain, d.chains), d.depth, n.workers,
           CASE WHEN r.paused OR n.none_by_hand OR n.all_told THEN n.workers ELSE s.wanted END,
           CASE WHEN r.paused THEN 'the system is paused'
                WHEN n.none_by_hand THEN 'a person has set 0, which stays until a person sets another number'
                WHEN n.all_told THEN format('all of them (%s) were told to %s: flagpost workers %s --type %s', o.workers,
                                            CASE WHEN o.paused THEN 'pause' ELSE 'stop' END,
                                            CASE WHEN o.paused THEN 'resume' ELSE 'start' END, d.type)
                ELSE s.reason END
    FROM counted d
    CROSS JOIN rules r
    LEFT JOIN targets t ON t.type = d.type AND t.chains = d.chains
    LEFT JOIN alive a ON a.type = d.type AND a.chains = d.chains
    LEFT JOIN told o ON o.type = d.type AND o.chains = d.chains
    CROSS JOIN LATERAL (
        SELECT coalesce(t.workers, a.workers, 0) AS workers, coalesce(t.workers = 0 AND t.set_by = 'operator', false) AS none_by_hand,
               a.workers IS NULL AND coalesce(o.workers >= coalesce(t.workers, 0), false) AS all_told
    ) n
    CROSS JOIN LATERAL scaling_step(
        d.depth, n.workers, p_now - t.set_at, r.fewest, r.most, r.up_above, r.up_by, r.down_below, r.down_by, r.cooldown) s
    ORDER BY d.type, d.chains
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
    -- Nobody sets a number between the decision and its writing. Whoever evaluates or sets one at this moment is not waited for: the
    -- next evaluation is as good, and sees that change with its cooldown.
    BEGIN
        LOCK TABLE worker_targets IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN;
    END;
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
        (SELECT t.workers FROM worker_targets t
         WHERE t.type = p_type AND t.host = '' AND chain_group(t.blockchain) = chain_group(p_blockchain)
         ORDER BY t.set_at DESC LIMIT 1),
        scaling_number('min_workers', 1, 1, 200)::integer)
$$;
COMMENT ON FUNCTION desired_workers(text, text) IS 'What KEDA asks: SELECT desired_workers(''gas-topup'')';

-- The health of workers and of the whole: SELECT * FROM system_health(). People read it, `flagpost status` shows it.
--
-- Guarantees: reads only, and bounded: at most 10,000 due jobs of a type are counted, whatever waits. A worker is judged by what it
-- said at its last heartbeat and by what the database knows of it; one that was told to stop is not judged.

-- Four checks of each worker that shall run: NULL is right, else what is wrong. `health` is healthy with none that fails, warning with
-- one, unhealthy with more; `paused` and `stopped` where an operator said so. Compiled plans are off as in scaling_decisions().
CREATE OR REPLACE FUNCTION worker_health()
RETURNS TABLE (
    slot text, type text, blockchain text, host text, status text, desired text, health text,
    heartbeat text, memory text, progress text, error_rate text, disobeys text, last_heartbeat timestamptz, last_error text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
SET jit = off
AS $$
    WITH limits AS MATERIALIZED (
        -- As the processes have it: a value that they do not take leaves the default in force.
        SELECT (SELECT CASE WHEN given.mb = 0 OR given.mb BETWEEN 200 AND 1000000 THEN given.mb ELSE 500 END
                FROM (SELECT config_number('workers', 'memory_limit_mb', 500) AS mb) given) AS memory_mb,
               config_number('queue', 'deadline_seconds', 120) AS deadline_seconds,
               config_number('workers', 'error_percent', 10) AS error_percent
    ), standing AS MATERIALIZED (
        -- As doctor has it (sql/queries/doctor/chains_cursors.sql): chains of which no block was read though payments are out for long.
        SELECT l.holder, l.name, clock_timestamp() - k.updated_at AS standing
        FROM chain_cursors k
        JOIN chains c ON c.id = k.chain_id
        JOIN leaderships l ON l.name = 'confirmations ' || c.name
        CROSS JOIN LATERAL (SELECT clock_timestamp() - greatest(interval '10 minutes', 60 * c.block_time) AS ago) long
        WHERE k.purpose = 'confirmations' AND k.updated_at < long.ago
          AND EXISTS (SELECT FROM transfers t WHERE t.chain_id = c.id AND t.created_at < long.ago
                      AND t.state NOT IN ('final', 'reverted', 'rejected', 'requested'))
    ), judged AS (
        SELECT w.*,
               CASE WHEN NOT has_process(w) THEN
                   CASE WHEN w.status = 'error' AND w.last_error IS NOT NULL THEN w.last_error
                        WHEN w.session_lost_at IS NOT NULL OR w.ended_at IS NOT NULL THEN 'no process has the slot'
                        ELSE format('silent since %s', date_trunc('second', w.last_heartbeat)) END END AS heartbeat,
               CASE WHEN l.memory_mb > 0 AND stat_number(w.stats, 'memory_bytes') > l.memory_mb * 1000000
                    THEN format('%s MB, workers.memory_limit_mb is %s',
                                round(stat_number(w.stats, 'memory_bytes') / 1000000), trim_scale(l.memory_mb))
                         || CASE WHEN stat_number(w.stats, 'memory_restarts') > 0
                                 THEN format(', restarts in a row that did not help: %s', stat_number(w.stats, 'memory_restarts')) ELSE '' END
                    END AS memory,
               coalesce(
                   CASE WHEN stat_number(w.stats, 'held_seconds') > 1.5 * l.deadline_seconds
                        THEN format('has held a job for %s s, queue.deadline_seconds is %s',
                                    round(stat_number(w.stats, 'held_seconds')), trim_scale(l.deadline_seconds)) END,
                   (SELECT format('leads %s, and has not renewed its lease since %s', string_agg(d.name, ', ' ORDER BY d.name),
                                  date_trunc('second', min(d.renewed_at)))
                    FROM leaderships d
                    WHERE d.holder = w.incarnation AND d.until < clock_timestamp() - interval '10 seconds'
                    HAVING count(*) > 0),
                   (SELECT format('leads %s, and has read no new block for %s while payments are out',
                                  string_agg(s.name, ', ' ORDER BY s.name), date_trunc('second', max(s.standing)))
                    FROM standing s WHERE s.holder = w.incarnation
                    HAVING count(*) > 0),
                   (SELECT format('keeps balances locked, which it might do until %s',
                                  date_trunc('second', min(k.locked_until)))
                    FROM (SELECT p.locked_until FROM sync_pages p WHERE p.locked_by = w.incarnation::text
                          UNION ALL
                          SELECT b.locked_until FROM wallet_balances b
                          WHERE b.locked_by = w.incarnation::text AND b.processing_status = 'processing') k
                    WHERE k.locked_until < clock_timestamp() - interval '1 minute'
                    HAVING count(*) > 0)) AS progress,
               CASE WHEN stat_number(w.stats, 'recent_attempts') >= 10
                     AND stat_number(w.stats, 'recent_failed') * 100 > l.error_percent * stat_number(w.stats, 'recent_attempts')
                    THEN format('%s of %s attempts failed in ten minutes', stat_number(w.stats, 'recent_failed'),
                                stat_number(w.stats, 'recent_attempts'))
                    END AS error_rate,
               -- A process that has just begun has its time, too; a time that lies ahead was written by a wrong clock. One of the
               -- version before does what its row says.
               CASE WHEN has_process(w) AND w.observed_generation < w.generation
                     AND NOT coalesce(greatest(w.told_at, w.created_at) BETWEEN clock_timestamp() - interval '10 seconds'
                                                                            AND clock_timestamp(), false)
                    THEN format('told to %s, and has not obeyed; its heartbeat is %s old',
                                CASE WHEN w.observed_generation < w.restart_generation THEN 'restart' ELSE 'be ' || w.desired END,
                                date_trunc('second', clock_timestamp() - w.last_heartbeat)) END AS disobeys
        FROM worker_registry w CROSS JOIN limits l
        WHERE has_process(w)
           OR ((w.managed_by IS NOT NULL
                OR (w.status IN ('running', 'paused', 'error') AND w.last_heartbeat > clock_timestamp() - interval '1 day'))
               AND agent_told_to_stop(w.managed_by) IS NULL)
    )
    SELECT j.id, j.type, j.blockchain, j.host, j.status, j.desired,
           CASE WHEN j.desired = 'stopped' THEN 'stopped'
                WHEN num_nonnulls(j.heartbeat, j.memory, j.progress, j.error_rate) >= 2 THEN 'unhealthy'
                WHEN num_nonnulls(j.heartbeat, j.memory, j.progress, j.error_rate) = 1 THEN 'warning'
                WHEN j.desired = 'paused' OR j.status = 'paused' THEN 'paused'
                ELSE 'healthy' END,
           CASE WHEN j.desired <> 'stopped' THEN j.heartbeat END, CASE WHEN j.desired <> 'stopped' THEN j.memory END,
           CASE WHEN j.desired <> 'stopped' THEN j.progress END, CASE WHEN j.desired <> 'stopped' THEN j.error_rate END,
           j.disobeys, j.last_heartbeat, j.last_error
    FROM judged j
    ORDER BY j.type, j.id
$$;

-- How a worker of a type comes to work where none does, for that chain where one is named: one that was told to stop is started by a
-- command, and a process beside it would take its slot and not work.
CREATE OR REPLACE FUNCTION how_to_start(p_type text, p_chain text DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE count(*)
           WHEN 0 THEN coalesce(
               (SELECT format('its agent was told to stop: flagpost workers start %s', min(agent_told_to_stop(s.managed_by)))
                FROM worker_registry s WHERE s.type = p_type AND (p_chain IS NULL OR serves_chain(s.blockchain, p_chain))
                HAVING min(agent_told_to_stop(s.managed_by)) IS NOT NULL),
               (SELECT format('there shall be none: flagpost workers scale %s NUMBER', p_type)
                FROM worker_targets t WHERE t.type = p_type AND p_chain IS NULL HAVING sum(t.workers) = 0),
               format('start one: flagpost %s%s', p_type, ' --chain ' || p_chain))
           WHEN 1 THEN format('it was told to stop: flagpost workers start %s', min(w.id))
           ELSE format('they were told to stop: flagpost workers start --type %s', p_type) END
    FROM worker_registry w
    WHERE w.type = p_type AND told_in_slot(w) = 'stopped' AND (has_process(w) OR has_agent(w.managed_by))
      AND (p_chain IS NULL OR serves_chain(w.blockchain, p_chain))
$$;

-- Work that is due for each type of worker: how much, since when, and how many workers of the type live and work. Jobs are counted up to
-- 10,000 a type; flags that have no job yet are work of the type that serves them; of the sync pages are counted, and balances that are
-- due by themselves (read again soon) only tell since when.
CREATE OR REPLACE FUNCTION due_work()
RETURNS TABLE (type text, due bigint, since timestamptz, live integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
SET jit = off
AS $$
    WITH jobs AS (
        SELECT k.type, count(d.run_at) AS due, min(d.run_at) AS since
        FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
        LEFT JOIN LATERAL (
            SELECT j.run_at FROM job_logs j
            WHERE j.job_type = k.type AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
              AND j.run_at <= clock_timestamp() AND j.chain_id = ANY (ARRAY(SELECT c.id FROM chains c WHERE c.is_active))
            LIMIT 10000) d ON true
        GROUP BY k.type
    ), flags AS (
        -- Of the first thousand in the order in which they rose.
        SELECT k.type, (
            SELECT min(f.wanted_since)
            FROM (SELECT w.id, w.chain_id, w.wanted_since FROM wallets w WHERE w.wanted_job = k.type
                  ORDER BY w.wanted_xid, w.id LIMIT 1000) f
            JOIN chains c ON c.id = f.chain_id AND c.is_active
            WHERE NOT EXISTS (SELECT FROM job_logs j WHERE j.wallet_id = f.id AND j.job_type = k.type AND j.completed_at IS NULL OFFSET 0)
              AND NOT EXISTS (SELECT FROM job_logs j WHERE j.wallet_id = f.id AND j.job_type = k.type AND j.failed_at IS NOT NULL OFFSET 0)
        ) AS since
        FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
    ), work AS (
        SELECT j.type, j.due, least(j.since, f.since) AS since FROM jobs j JOIN flags f USING (type)
        UNION ALL
        SELECT 'confirmations', count(*), min(t.created_at)
        FROM transfers t WHERE t.state NOT IN ('final', 'reverted', 'rejected', 'requested')
        UNION ALL
        SELECT 'sync', coalesce(sum(p.pages), 0)::bigint, least(min(p.since), min(b.next_check_at))
        FROM asset_on_chain a
        JOIN chains c ON c.id = a.chain_id AND c.is_active
        CROSS JOIN LATERAL (
            SELECT count(*) AS pages, min(p.next_check_at) AS since FROM sync_pages p
            WHERE p.asset_on_chain_id = a.id AND p.next_check_at <= clock_timestamp() AND coalesce(p.balances, 1) > 0) p
        LEFT JOIN LATERAL (
            SELECT b.next_check_at FROM wallet_balances b
            WHERE b.asset_on_chain_id = a.id AND b.next_check_at <= clock_timestamp()
            ORDER BY b.next_check_at LIMIT 1) b ON true
        WHERE a.is_active
    )
    SELECT w.type, w.due, w.since,
           (SELECT count(*)::integer FROM worker_registry r
            WHERE r.type = w.type AND has_process(r) AND r.status IN ('running', 'paused', 'error') AND r.desired <> 'stopped')
    FROM work w
$$;

-- The whole in one row. Down: work of a type has been due for a minute, and no worker of that type lives, or none that serves its chain.
-- Degraded: a worker that shall run fails a check or has not obeyed for 10 s, every worker of a type is paused though work has been due
-- for a minute, fewer live than there shall be (worker_targets), or nobody has led for a minute what one has to lead. Paused: the whole
-- system is. `reasons` says what is wrong and what to do.
CREATE OR REPLACE FUNCTION system_health()
RETURNS TABLE (
    health text, reasons text[], workers integer, failing integer, jobs_due bigint, oldest_due interval,
    payments_out bigint, oldest_payment interval, notification_queue real
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
SET jit = off
AS $$
    WITH work AS MATERIALIZED (SELECT * FROM due_work()),
    judged AS MATERIALIZED (SELECT * FROM worker_health()),
    paused AS (
        SELECT 'the whole system is paused: flagpost config set paused false' AS reason
        FROM system_config s WHERE s.key = 'paused' AND s.value = 'true'
    ), late AS (
        SELECT w.type, w.live, format('%s: work has been due for %s', w.type, date_trunc('second', clock_timestamp() - w.since)) AS work
        FROM work w WHERE w.since < clock_timestamp() - interval '1 minute'
    ), down AS (
        SELECT format('%s, and no worker of that type lives: %s', l.work, how_to_start(l.type)) AS reason
        FROM late l WHERE l.live = 0
        UNION ALL
        -- Of chains that none of those who live serves. Flags without a job are not asked for: the sweep gives them one.
        SELECT format('%s of %s has been due for a minute, and no worker that lives serves that chain: %s',
                      l.type, c.name, how_to_start(l.type, c.name))
        FROM late l CROSS JOIN chains c
        WHERE l.live > 0 AND (c.is_active OR l.type = 'confirmations')
          AND NOT EXISTS (SELECT FROM worker_registry r
                          WHERE r.type = l.type AND has_process(r) AND r.desired <> 'stopped' AND serves_chain(r.blockchain, c.name))
          AND CASE l.type
              WHEN 'confirmations' THEN EXISTS (
                  SELECT FROM transfers t WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected', 'requested')
                    AND t.created_at < clock_timestamp() - interval '1 minute')
              WHEN 'sync' THEN EXISTS (
                  SELECT FROM asset_on_chain a JOIN sync_pages p ON p.asset_on_chain_id = a.id
                  WHERE a.chain_id = c.id AND a.is_active AND coalesce(p.balances, 1) > 0
                    AND p.next_check_at < clock_timestamp() - interval '1 minute')
              ELSE EXISTS (
                  SELECT FROM (SELECT j.chain_id FROM job_logs j
                               WHERE j.job_type = l.type AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
                                 AND j.run_at < clock_timestamp() - interval '1 minute' LIMIT 10000) j
                  WHERE j.chain_id = c.id)
              END
    ), degraded AS (
        SELECT format('%s: %s: %s', j.slot, concat_ws('; ', j.heartbeat, j.memory, j.progress, j.error_rate),
                      CASE WHEN j.heartbeat IS NOT NULL AND NOT has_agent(r.managed_by) IS TRUE
                               THEN 'flagpost workers list says where it ran; start it there'
                           WHEN j.heartbeat IS NOT NULL AND j.status = 'error' AND r.ended_at IS NOT NULL
                               THEN format('once that is mended: flagpost workers start %s', j.slot)
                           WHEN j.heartbeat IS NOT NULL THEN 'the agent of its host starts it again'
                           WHEN j.error_rate IS NOT NULL THEN 'flagpost jobs list --status failed says why'
                           WHEN j.memory LIKE '%did not help%' AND j.progress IS NULL THEN
                               'raise it: flagpost config set workers.memory_limit_mb MEGABYTES'
                           ELSE format('flagpost workers restart %s', j.slot) END) AS reason
        FROM judged j JOIN worker_registry r ON r.id = j.slot
        WHERE num_nonnulls(j.heartbeat, j.memory, j.progress, j.error_rate) > 0
        UNION ALL
        SELECT format('%s: %s: see its log on host %s', j.slot, j.disobeys, j.host) FROM judged j
        WHERE j.disobeys IS NOT NULL AND j.heartbeat IS NULL
        UNION ALL
        SELECT format('%s, and every worker of that type is paused: flagpost workers resume --type %s', l.work, l.type)
        FROM late l
        WHERE l.live > 0 AND NOT EXISTS (SELECT FROM paused)
          AND NOT EXISTS (SELECT FROM judged j WHERE j.type = l.type AND j.heartbeat IS NULL AND j.desired = 'running'
                          AND j.status = 'running')
        UNION ALL
        SELECT format('nobody has led %s since %s: %s', l.name, date_trunc('second', l.since), how_to_start(split_part(l.name, ' ', 1)))
        FROM leaderships_without_leader('1 minute') l
        UNION ALL
        -- Slots that a person stopped are there; a host whose agent was stopped is to have none.
        SELECT format('%s: %s of %s workers live: flagpost host starts them on its host; flagpost workers scale changes the number',
                      t.type, n.workers, t.workers)
        FROM (SELECT t.type, sum(t.workers) AS workers, max(t.set_at) AS set_at FROM worker_targets t
              WHERE NOT EXISTS (SELECT FROM worker_registry a WHERE a.type = 'host' AND a.host = t.host AND a.desired = 'stopped')
              GROUP BY t.type) t
        CROSS JOIN LATERAL (SELECT count(*) AS workers FROM worker_registry r
                            WHERE r.type = t.type AND (has_process(r) OR told_in_slot(r) = 'stopped' AND r.managed_by IS NOT NULL)) n
        WHERE n.workers < t.workers AND NOT t.set_at BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp()
    )
    SELECT CASE WHEN EXISTS (SELECT FROM down) THEN 'Down'
                WHEN EXISTS (SELECT FROM paused) THEN 'Paused'
                WHEN EXISTS (SELECT FROM degraded) THEN 'Degraded'
                ELSE 'Healthy' END,
           ARRAY(SELECT d.reason FROM down d) || ARRAY(SELECT p.reason FROM paused p) || ARRAY(SELECT g.reason FROM degraded g),
           (SELECT count(*)::integer FROM judged j WHERE j.heartbeat IS NULL AND j.desired <> 'stopped'),
           (SELECT count(*)::integer FROM judged j WHERE num_nonnulls(j.heartbeat, j.memory, j.progress, j.error_rate) > 0),
           (SELECT sum(w.due)::bigint FROM work w WHERE w.type IN ('gas-topup', 'consolidation')),
           (SELECT date_trunc('second', clock_timestamp() - min(w.since)) FROM work w WHERE w.type IN ('gas-topup', 'consolidation')),
           (SELECT w.due FROM work w WHERE w.type = 'confirmations'),
           (SELECT date_trunc('second', clock_timestamp() - w.since) FROM work w WHERE w.type = 'confirmations'),
           pg_notification_queue_usage()::real
$$;
COMMENT ON FUNCTION system_health() IS 'How the whole is, and what to do: SELECT * FROM system_health()';
COMMENT ON FUNCTION worker_health() IS 'The checks of each worker: SELECT * FROM worker_health()';

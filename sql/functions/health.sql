-- The health of workers and of the whole: SELECT * FROM system_health(). People read it, `flagpost status` shows it.
--
-- Guarantees: reads only, and bounded: at most 10,000 due jobs of a type are counted, whatever waits. A worker is judged by what it
-- said at its last heartbeat and by what the database knows of it; one that was told to stop is not judged.

-- Four checks of each worker that shall run: NULL is right, else what is wrong. `health` is healthy with none that fails, warning with
-- one, unhealthy with more; `paused` and `stopped` where an operator said so.
CREATE OR REPLACE FUNCTION worker_health()
RETURNS TABLE (
    slot text, type text, blockchain text, host text, status text, desired text, health text,
    heartbeat text, memory text, progress text, error_rate text, disobeys text, last_heartbeat timestamptz, last_error text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH limits AS MATERIALIZED (
        SELECT config_number('workers', 'memory_limit_mb', 500) AS memory_mb,
               config_number('queue', 'deadline_seconds', 120) AS deadline_seconds,
               config_number('workers', 'error_percent', 10) AS error_percent
    ), judged AS (
        SELECT w.*,
               CASE WHEN NOT has_process(w) THEN
                   CASE WHEN w.session_lost_at IS NOT NULL OR w.ended_at IS NOT NULL THEN 'no process has the slot'
                        ELSE format('silent since %s', date_trunc('second', w.last_heartbeat)) END END AS heartbeat,
               CASE WHEN l.memory_mb > 0 AND (w.stats ->> 'memory_bytes')::numeric > l.memory_mb * 1000000
                    THEN format('%s MB, workers.memory_limit_mb is %s',
                                round((w.stats ->> 'memory_bytes')::numeric / 1000000), trim_scale(l.memory_mb)) END AS memory,
               coalesce(
                   CASE WHEN (w.stats ->> 'held_seconds')::numeric > 1.5 * l.deadline_seconds
                        THEN format('has held a job for %s s, queue.deadline_seconds is %s',
                                    round((w.stats ->> 'held_seconds')::numeric), trim_scale(l.deadline_seconds)) END,
                   (SELECT format('leads %s, and has not renewed its lease since %s', string_agg(d.name, ', ' ORDER BY d.name),
                                  date_trunc('second', min(d.renewed_at)))
                    FROM leaderships d
                    WHERE d.holder = w.incarnation AND d.until < clock_timestamp() - interval '10 seconds'
                    HAVING count(*) > 0)) AS progress,
               CASE WHEN (w.stats ->> 'recent_attempts')::numeric >= 10
                     AND (w.stats ->> 'recent_failed')::numeric * 100 > l.error_percent * (w.stats ->> 'recent_attempts')::numeric
                    THEN format('%s of %s attempts failed in ten minutes', w.stats ->> 'recent_failed', w.stats ->> 'recent_attempts')
                    END AS error_rate,
               CASE WHEN has_process(w) AND coalesce(w.observed_generation < w.generation, w.status <> w.desired)
                     AND w.updated_at < clock_timestamp() - interval '10 seconds'
                    THEN format('told to be %s, and has not obeyed; its heartbeat is %s old',
                                w.desired, date_trunc('second', clock_timestamp() - w.last_heartbeat)) END AS disobeys
        FROM worker_registry w CROSS JOIN limits l
        WHERE has_process(w) OR w.managed_by IS NOT NULL
           OR (w.status IN ('running', 'paused', 'error') AND w.last_heartbeat > clock_timestamp() - interval '1 day')
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

-- Work that is due for each type of worker: how much, since when, and how many workers of the type live and work. Jobs are counted up to
-- 10,000 a type; flags that have no job yet are work of the type that serves them.
CREATE OR REPLACE FUNCTION due_work()
RETURNS TABLE (type text, due bigint, since timestamptz, live integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH jobs AS (
        SELECT k.type, count(d.run_at) AS due, min(d.run_at) AS since
        FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
        LEFT JOIN LATERAL (
            SELECT j.run_at FROM job_logs j JOIN chains c ON c.id = j.chain_id
            WHERE j.job_type = k.type AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
              AND j.run_at <= clock_timestamp() AND c.is_active
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
        SELECT 'sync', count(*), min(p.next_check_at)
        FROM sync_pages p
        JOIN asset_on_chain a ON a.id = p.asset_on_chain_id AND a.is_active
        JOIN chains c ON c.id = a.chain_id AND c.is_active
        WHERE p.next_check_at <= clock_timestamp() AND coalesce(p.balances, 1) > 0
    )
    SELECT w.type, w.due, w.since,
           (SELECT count(*)::integer FROM worker_registry r
            WHERE r.type = w.type AND has_process(r) AND r.status IN ('running', 'paused', 'error') AND r.desired <> 'stopped')
    FROM work w
$$;

-- The whole in one row. Down: work of a type has been due for a minute, and no worker of that type lives. Degraded: a worker that shall
-- run fails a check or has not obeyed for 10 s, or nobody has led for a minute what one has to lead. Paused: the whole system is.
-- `reasons` says what is wrong and what to do.
CREATE OR REPLACE FUNCTION system_health()
RETURNS TABLE (
    health text, reasons text[], workers integer, failing integer, jobs_due bigint, oldest_due interval,
    payments_out bigint, oldest_payment interval, notification_queue real
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH work AS MATERIALIZED (SELECT * FROM due_work()),
    judged AS MATERIALIZED (SELECT * FROM worker_health()),
    down AS (
        SELECT format('%s: work has been due for %s, and no worker of that type lives: start one: flagpost %s',
                      w.type, date_trunc('second', clock_timestamp() - w.since), w.type) AS reason
        FROM work w WHERE w.live = 0 AND w.since < clock_timestamp() - interval '1 minute'
    ), degraded AS (
        SELECT format('%s: %s: %s', j.slot, concat_ws('; ', j.heartbeat, j.memory, j.progress, j.error_rate),
                      CASE WHEN j.heartbeat IS NOT NULL THEN 'flagpost workers list says where it ran; start it there'
                           WHEN j.error_rate IS NOT NULL THEN 'flagpost jobs list --status failed says why'
                           ELSE format('flagpost workers restart %s', j.slot) END) AS reason
        FROM judged j WHERE num_nonnulls(j.heartbeat, j.memory, j.progress, j.error_rate) > 0
        UNION ALL
        SELECT format('%s: %s: see its log on host %s', j.slot, j.disobeys, j.host) FROM judged j
        WHERE j.disobeys IS NOT NULL AND j.heartbeat IS NULL
        UNION ALL
        SELECT format('nobody has led %s since %s: start one: flagpost %s', l.name, date_trunc('second', l.until), split_part(l.name, ' ', 1))
        FROM leaderships l
        LEFT JOIN chains c ON l.name LIKE '% %' AND c.name = substr(l.name, position(' ' IN l.name) + 1)
        WHERE l.until < clock_timestamp() - interval '1 minute' AND (l.name NOT LIKE '% %' OR c.is_active)
    ), paused AS (
        SELECT 'the whole system is paused: flagpost config set paused false' AS reason
        FROM system_config s WHERE s.key = 'paused' AND s.value = 'true'
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

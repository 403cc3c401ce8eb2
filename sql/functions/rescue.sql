-- Getting stuck work going again.
--
-- Guarantees: a job that waits for the chain, or has a transaction that may still land, is never touched, however
-- old it is; a job is taken from a worker only when that worker is known to be silent or the attempt's own
-- deadline has passed, never for its age alone. The lease makes sure that a worker that was only slow finishes nothing.

-- Rescues active jobs whose worker has been silent for `stale` (or is stopped, or was never registered) and which have
-- not moved for `older_than`, and those past their deadline. They run again at once, or fail once their
-- attempts are used up. Also unlocks balances whose lock has expired. Returns the jobs as they are now.
CREATE OR REPLACE FUNCTION rescue_jobs(stale interval, older_than interval)
RETURNS TABLE (id uuid, job_id text, job_type text, wallet_address text, status text, reason text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    -- What the sync left behind when it was killed. Found by next_check_at, which a lock moves to its end
    -- (triggers/balance_locks.sql), because that is indexed; and due since then, so that it rings nobody.
    UPDATE wallet_balances b SET processing_status = 'idle', locked_by = NULL, locked_until = NULL
    WHERE b.id = ANY (ARRAY(
        SELECT expired.id
        FROM asset_on_chain a
        CROSS JOIN LATERAL (
            SELECT s.id FROM wallet_balances s
            WHERE s.asset_on_chain_id = a.id AND s.next_check_at <= now()
              AND s.processing_status = 'processing' AND s.locked_until <= now()
            FOR NO KEY UPDATE SKIP LOCKED
        ) expired
    ));

    RETURN QUERY
    WITH stuck AS MATERIALIZED (
        SELECT j.id,
               CASE WHEN j.lease_deadline < now()
                    THEN format('the attempt ran past its deadline, %s', date_trunc('second', j.lease_deadline))
                    WHEN w.id IS NULL THEN 'its worker is not registered'
                    WHEN w.status = 'stopped' THEN format('its worker %s was stopped', w.name)
                    ELSE format('its worker %s has been silent since %s', w.name, date_trunc('second', w.last_heartbeat))
               END AS reason
        FROM job_logs j
        LEFT JOIN worker_registry w ON w.id = j.leased_by
        WHERE j.status = 'active' AND NOT j.awaiting_chain
          AND (j.lease_deadline < now()
               OR (j.updated_at < now() - older_than
                   AND (w.id IS NULL OR w.status = 'stopped' OR w.last_heartbeat < now() - stale)))
          AND NOT EXISTS (
              SELECT FROM transfers t WHERE t.job_id = j.id AND t.state IN ('broadcasting', 'included'))
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE job_logs j SET
        status = CASE WHEN j.retry_count + 1 < j.max_retries THEN 'retrying' ELSE 'failed' END,
        completed_at = CASE WHEN j.retry_count + 1 < j.max_retries THEN NULL ELSE clock_timestamp() END,
        retry_count = j.retry_count + 1,
        run_at = now(),
        leased_by = NULL,
        lease_deadline = NULL,
        error_message = 'rescued: ' || stuck.reason,
        data = j.data || jsonb_build_object('history', coalesce(j.data -> 'history', '[]')
            || jsonb_build_array(jsonb_build_object('at', now(), 'error', 'rescued: ' || stuck.reason)))
    FROM stuck
    WHERE j.id = stuck.id
    RETURNING j.id, j.job_id, j.job_type, j.wallet_address, j.status, stuck.reason;
END
$$;
REVOKE ALL ON FUNCTION rescue_jobs(interval, interval) FROM PUBLIC;

-- The same for operators: jobs that have been stuck for so many minutes. Returns how many were rescued.
CREATE OR REPLACE FUNCTION cleanup_stuck_jobs(minutes integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT count(*)::integer FROM rescue_jobs(interval '60 seconds', make_interval(mins => minutes))
$$;
REVOKE ALL ON FUNCTION cleanup_stuck_jobs(integer) FROM PUBLIC;

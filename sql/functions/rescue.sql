-- Getting stuck work going again.
--
-- Guarantees: a job that waits for the chain, or has a transaction that may still land, is never touched, however
-- old it is; a job is taken from a worker only when that worker is known to be dead or silent or the attempt's own
-- deadline has passed, never for its age alone. The lease makes sure that a worker that was only slow finishes nothing.

-- Rescues active jobs of workers that died (dead_workers), at once; those whose worker has been silent for `stale` (or is
-- stopped, or was never registered) and which have not moved for `older_than`; and those past their deadline. Each
-- uses up an attempt: the first time a job runs again at once, then after a wait like after any failed attempt, so
-- that what killed its worker does not take the others' jobs down with it again and again; in the end it fails.
-- Also unlocks balances whose lock has expired, or whose sync died, and its pages. Returns the jobs as they are now.
--
-- No index knows which jobs are active (migration 0010), so that all are read that wait or run, in the order in which they
-- entered: from the transaction `entered_since` on, and at most so many (NULL: all). Both bounds are for those who look often
-- (pipeline/workers/rescue.py); what they leave out is found by the next call without them.
CREATE OR REPLACE FUNCTION rescue_jobs(
    stale interval, older_than interval, entered_since xid8 DEFAULT '0', at_most integer DEFAULT NULL
)
RETURNS TABLE (id uuid, job_id text, job_type text, wallet_address text, status text, reason text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    dead uuid[] := dead_workers();
    suspects uuid[];
BEGIN
    -- What the sync left behind when it was killed; a lock names the slot and the incarnation of its worker (pipeline/workers/sync.py).
    -- Due at once (triggers/balance_locks.sql); what had expired was due before, and notifies nobody.
    UPDATE sync_pages p SET locked_by = NULL, locked_at = NULL, locked_until = NULL, next_check_at = now()
    FROM (
        SELECT left_behind.asset_on_chain_id, left_behind.last_id
        FROM sync_pages left_behind
        WHERE left_behind.locked_by IS NOT NULL AND split_part(left_behind.locked_by, ':', 2) = ANY (dead::text[])
        ORDER BY left_behind.asset_on_chain_id, left_behind.last_id
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS left_behind
    WHERE p.asset_on_chain_id = left_behind.asset_on_chain_id AND p.last_id = left_behind.last_id;
    UPDATE wallet_balances b SET processing_status = 'idle', locked_by = NULL, locked_until = NULL
    WHERE b.id = ANY (ARRAY(
        SELECT left_behind.id
        FROM wallet_balances left_behind
        WHERE left_behind.processing_status = 'processing'
          AND (left_behind.locked_until <= now() OR split_part(left_behind.locked_by, ':', 2) = ANY (dead::text[]))
        ORDER BY left_behind.id
        FOR NO KEY UPDATE SKIP LOCKED
    ));

    suspects := ARRAY(
        SELECT j.id
        FROM (
            SELECT a.id, a.status, a.leased_by, a.lease_deadline, a.updated_at FROM job_logs a
            WHERE a.completed_at IS NULL AND NOT a.awaiting_chain AND a.entered_xid >= rescue_jobs.entered_since
            ORDER BY a.entered_xid
            LIMIT at_most
        ) j
        LEFT JOIN worker_registry w ON w.incarnation = j.leased_by
        WHERE j.status = 'active'
          AND (j.lease_deadline < now()
               OR w.incarnation = ANY (dead)
               OR (j.updated_at < now() - older_than
                   AND (w.id IS NULL OR w.status = 'stopped' OR w.last_heartbeat < now() - stale)))
    );
    IF suspects = '{}' THEN
        RETURN;
    END IF;

    -- Asked again under the lock: a worker may have ended one meanwhile, or handed it over to the chain.
    RETURN QUERY
    WITH stuck AS MATERIALIZED (
        SELECT j.id,
               CASE WHEN j.lease_deadline < now()
                    THEN format('the attempt ran past its deadline, %s', date_trunc('second', j.lease_deadline))
                    WHEN w.id IS NULL THEN 'its worker is not registered'
                    WHEN w.status = 'stopped' THEN format('its worker %s was stopped', w.name)
                    WHEN w.incarnation = ANY (dead) THEN format('its worker %s died', w.name)
                    ELSE format('its worker %s has been silent since %s', w.name, date_trunc('second', w.last_heartbeat))
               END AS reason
        FROM job_logs j
        LEFT JOIN worker_registry w ON w.incarnation = j.leased_by
        WHERE j.id = ANY (suspects) AND j.status = 'active' AND NOT j.awaiting_chain
          AND (j.lease_deadline < now()
               OR w.incarnation = ANY (dead)
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
        run_at = now() + CASE WHEN j.retry_count = 0 THEN interval '0' ELSE (0.5 + random() / 2)
            * least(interval '5 minutes', interval '5 seconds' * 2 ^ least(j.retry_count - 1, 6)) END,
        leased_by = NULL,
        lease_deadline = NULL,
        error_message = 'rescued: ' || stuck.reason,
        data = j.data || one_more_in_history(j.data, 'rescued: ' || stuck.reason)
    FROM stuck
    WHERE j.id = stuck.id
    RETURNING j.id, j.job_id, j.job_type, j.wallet_address, j.status, stuck.reason;
END
$$;
REVOKE ALL ON FUNCTION rescue_jobs(interval, interval, xid8, integer) FROM PUBLIC;

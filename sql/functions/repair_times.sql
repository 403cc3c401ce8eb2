-- Times that lie ahead of the clock, though the clock wrote them: it was wrong when it did (400 days ahead for 15 seconds, say),
-- and what waits for them would wait until then.
--
-- Guarantees: nothing is touched that is at most a minute ahead, and nothing that a person planned: a job that was written while
-- the clock was right may be due whenever it says. What is repaired is due as long after now as it was after the moment it was
-- written. Of money only the times of sending are set back, and only of what is out: the proof that such bytes are dead begins
-- later by it, never earlier (triggers/expiry_proof.sql). Rows that somebody holds are left for the next time.
--
-- Schedules of balances are not here: the sync bounds those itself, when it reads them (sql/queries/sync/bound_schedules.sql). Nor are
-- times of what has ended, which are history: whoever reads them (rests after dead letters, gas budgets) does not believe
-- any that lie ahead.

-- Sets back up to `p_rows` rows of each kind; returns how many: flags (since when they are up), jobs (when they are due), leases (until
-- when an attempt may run), workers (when they were last heard of, or missed), attempts (when bytes were sent, and expired).
CREATE OR REPLACE FUNCTION repair_times(p_rows integer)
RETURNS TABLE (flags bigint, jobs bigint, leases bigint, workers bigint, attempts bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    ahead timestamptz := now() + interval '1 minute';
    found_flags uuid[];
    found_jobs uuid[];
    found_leases uuid[];
    found_attempts bigint[];
BEGIN
    found_flags := ARRAY(
        SELECT w.id FROM wallets w
        WHERE w.id = ANY (ARRAY(
            SELECT far.id
            FROM unnest(ARRAY['gas-topup', 'consolidation']) AS wanted (job)
            CROSS JOIN LATERAL (
                SELECT f.id FROM wallets f WHERE f.wanted_job = wanted.job AND f.wanted_since > ahead LIMIT p_rows) far))
        ORDER BY w.id FOR NO KEY UPDATE SKIP LOCKED);
    -- A minute ago, so that whoever leaves young flags to others takes them at once.
    UPDATE wallets w SET
        needs_gas_since = CASE WHEN w.needs_gas THEN least(coalesce(w.needs_gas_since, 'infinity'), now() - interval '1 minute') END,
        needs_consolidation_since = CASE WHEN w.needs_consolidation
            THEN least(coalesce(w.needs_consolidation_since, 'infinity'), now() - interval '1 minute') END,
        consolidation_ready_since = CASE WHEN w.needs_consolidation AND NOT w.needs_gas
            THEN least(coalesce(w.consolidation_ready_since, 'infinity'), now() - interval '1 minute') END
    WHERE w.id = ANY (found_flags);
    flags := cardinality(found_flags);

    -- By the ranges of job_logs_claim, each from its far end. What is due a week or more before or after
    -- it was written was planned by a person.
    found_jobs := ARRAY(
        SELECT j.id FROM job_logs j
        WHERE j.id = ANY (ARRAY(
            SELECT far.id
            FROM unnest(ARRAY['gas-topup', 'consolidation', 'withdrawal', 'deposit-detection', 'sync']) AS of (job_type)
            CROSS JOIN generate_series(-10, 10) AS level (priority)
            CROSS JOIN LATERAL (
                SELECT w.id FROM job_logs w
                WHERE w.job_type = of.job_type AND w.priority = level.priority
                  AND w.queued AND NOT w.awaiting_chain AND w.status IN ('pending', 'retrying')
                  AND w.run_at > ahead AND w.updated_at > ahead
                  AND w.run_at BETWEEN w.updated_at - interval '7 days' AND w.updated_at + interval '7 days'
                ORDER BY w.run_at DESC LIMIT p_rows) far))
        ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE job_logs j SET run_at = now() + greatest(interval '0', j.run_at - j.updated_at), updated_at = now()
    WHERE j.id = ANY (found_jobs);
    jobs := cardinality(found_jobs);

    found_leases := ARRAY(
        SELECT j.id FROM job_logs j
        WHERE j.completed_at IS NULL AND j.status = 'active' AND NOT j.awaiting_chain AND j.lease_deadline > ahead AND j.started_at > ahead
        ORDER BY j.id LIMIT p_rows FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE job_logs j SET
        started_at = now(),
        lease_deadline = now() + greatest(interval '0', j.lease_deadline - j.started_at),
        updated_at = now()
    WHERE j.id = ANY (found_leases);
    leases := cardinality(found_leases);

    UPDATE worker_registry w SET last_heartbeat = least(w.last_heartbeat, now()), session_lost_at = least(w.session_lost_at, now())
    WHERE w.id = ANY (ARRAY(
        SELECT r.id FROM worker_registry r WHERE r.last_heartbeat > ahead OR r.session_lost_at > ahead
        ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED));
    GET DIAGNOSTICS workers = ROW_COUNT;

    found_attempts := ARRAY(
        SELECT a.id FROM chain_transactions a
        WHERE a.id = ANY (ARRAY(
            (SELECT live.id FROM chain_transactions live
             WHERE live.state IN ('broadcasting', 'included')
               AND (live.first_broadcast_at > ahead OR live.last_broadcast_at > ahead)
             LIMIT p_rows)
            UNION ALL
            (SELECT dead.id FROM chains c
             CROSS JOIN LATERAL (
                 SELECT b.id, b.state FROM chain_transactions b
                 WHERE b.chain_id = c.id AND b.state = 'expired' AND b.updated_at > ahead
                 ORDER BY b.updated_at DESC LIMIT p_rows) dead)))
        ORDER BY a.id FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE chain_transactions a SET
        first_broadcast_at = least(a.first_broadcast_at, now()),
        last_broadcast_at = least(a.last_broadcast_at, now()),
        updated_at = now()
    WHERE a.id = ANY (found_attempts);
    attempts := cardinality(found_attempts);
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION repair_times(integer) FROM PUBLIC;

-- What operators do to jobs by hand: SELECT retry_job('gas-topup-17').
--
-- Guarantees: none of these touches a job whose transaction may still land on the chain; each goes through the state machine like
-- everybody else; each writes admin_actions for what it changed. `admin` is who does it (auth.users.id), NULL where only the
-- database knows.

-- The job of that job_id or id, locked; one that has moved to job_history is moved back. Raises where there is none.
CREATE OR REPLACE FUNCTION job_named(job text) RETURNS job_logs
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found job_logs;
BEGIN
    -- The second time for a job that was moved meanwhile.
    FOR try IN 1..2 LOOP
        SELECT * INTO found FROM job_logs j
        WHERE j.job_id = job OR j.id = job_uuid(job)
        ORDER BY (j.job_id = job) DESC LIMIT 1
        FOR UPDATE;
        EXIT WHEN found.id IS NOT NULL;
        PERFORM move_back_jobs(ARRAY(
            SELECT h.id FROM job_history h WHERE h.job_id = job OR h.id = job_uuid(job) ORDER BY (h.job_id = job) DESC LIMIT 1));
    END LOOP;
    IF found.id IS NULL THEN
        RAISE EXCEPTION 'there is no job "%"', job USING
            ERRCODE = 'no_data_found', HINT = 'Jobs are named by job_logs.job_id or job_logs.id: flagpost jobs list.';
    END IF;
    RETURN found;
END
$$;

-- A failed job runs again, at once; with `reset_retry_count` it has all its attempts again, without it one. Returns the job as it is
-- now. Raises for a job that is not failed, or whose wallet has a live job of that type already.
CREATE OR REPLACE FUNCTION retry_job(job text, reset_retry_count boolean DEFAULT true, admin uuid DEFAULT NULL)
RETURNS TABLE (job_id text, retry_count integer, max_retries integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found job_logs := job_named(job);
BEGIN
    IF found.status <> 'failed' THEN
        RAISE EXCEPTION '% is %: only failed jobs are retried', found.job_id, found.status USING ERRCODE = 'FP003';
    END IF;
    BEGIN
        RETURN QUERY
        UPDATE job_logs j SET
            status = 'pending', run_at = now(), completed_at = NULL, error_message = NULL,
            retry_count = CASE WHEN reset_retry_count THEN 0 ELSE j.retry_count END,
            max_retries = CASE WHEN reset_retry_count THEN j.max_retries ELSE greatest(j.max_retries, j.retry_count + 1) END
        WHERE j.id = found.id
        RETURNING j.job_id, j.retry_count, j.max_retries;
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'wallet % has a live % job already', found.wallet_address, found.job_type USING
            ERRCODE = 'FP003', HINT = format('See: flagpost jobs list --wallet %s.', found.wallet_address);
    END;
    PERFORM write_admin_action('job.retry', 'job', found.job_id, jsonb_build_object(
        'id', found.id, 'reset_retry_count', reset_retry_count,
        'before', jsonb_build_object('status', found.status, 'retry_count', found.retry_count, 'error_message', found.error_message),
        'after', jsonb_build_object('status', 'pending')), admin);
END
$$;
REVOKE ALL ON FUNCTION retry_job(text, boolean, uuid) FROM PUBLIC;
COMMENT ON FUNCTION retry_job(text, boolean, uuid) IS 'Runs one failed job again: SELECT retry_job(''gas-topup-17'')';

-- Lets the jobs of a type (NULL: of every type) that failed in the last hours start afresh; returns how many.
-- A wallet that has a live job of that type already is skipped, and of several failed ones only the newest runs. Those that have
-- moved to job_history are moved back.
CREATE OR REPLACE FUNCTION retry_failed_jobs(of_type text, hours integer, admin uuid DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    retried text[];
BEGIN
    IF of_type NOT IN ('sync', 'gas-topup', 'consolidation', 'deposit-detection', 'withdrawal') THEN
        RAISE EXCEPTION 'unknown job_type "%"', of_type USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'One of sync, gas-topup, consolidation, deposit-detection, withdrawal; NULL for all of them.';
    END IF;

    PERFORM move_back_jobs(ARRAY(
        SELECT h.id FROM job_history h
        WHERE h.status = 'failed' AND (of_type IS NULL OR h.job_type = of_type)
          AND h.completed_at > now() - make_interval(hours => hours) AND h.wallet_id IS NOT NULL));
    FOR attempt IN 1..10 LOOP
        BEGIN
            WITH again AS (
                UPDATE job_logs SET
                    status = 'pending', retry_count = 0, run_at = now(), started_at = NULL, completed_at = NULL
                WHERE id = ANY (ARRAY(
                    SELECT newest.id FROM (
                        SELECT DISTINCT ON (f.job_type, coalesce(f.wallet_id::text, f.id::text)) f.id
                        FROM job_logs f
                        WHERE f.failed_at > now() - make_interval(hours => hours)
                          AND (of_type IS NULL OR f.job_type = of_type)
                          AND NOT EXISTS (
                              SELECT FROM job_logs live
                              WHERE live.wallet_id = f.wallet_id AND live.job_type = f.job_type
                                AND live.completed_at IS NULL)
                        ORDER BY f.job_type, coalesce(f.wallet_id::text, f.id::text), f.completed_at DESC
                    ) newest
                )) AND status = 'failed'
                RETURNING job_id
            )
            SELECT coalesce(array_agg(again.job_id), '{}') INTO retried FROM again;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            -- Somebody queued a job for one of these wallets meanwhile: choose again.
            IF attempt = 10 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    IF retried <> '{}' THEN
        PERFORM write_admin_action('jobs.retry_failed', 'job_type', coalesce(of_type, 'all'), jsonb_build_object(
            'hours', hours, 'retried', cardinality(retried), 'job_ids', retried[:100]), admin);
    END IF;
    RETURN cardinality(retried);
END
$$;
REVOKE ALL ON FUNCTION retry_failed_jobs(text, integer, uuid) FROM PUBLIC;
COMMENT ON FUNCTION retry_failed_jobs(text, integer, uuid) IS
    'Runs the jobs of a type that failed in the last hours again: SELECT retry_failed_jobs(''gas-topup'', 24)';

-- Takes jobs from workers that are dead or silent, if they have been stuck for so many minutes (rescue_jobs, which the sweep calls
-- on a timer). Returns how many. A job whose transaction may still land is never touched.
CREATE OR REPLACE FUNCTION cleanup_stuck_jobs(minutes integer, admin uuid DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rescued text[] := ARRAY(SELECT r.job_id FROM rescue_jobs(interval '60 seconds', make_interval(mins => minutes)) r);
BEGIN
    IF rescued <> '{}' THEN
        PERFORM write_admin_action('jobs.cleanup_stuck', 'jobs', NULL, jsonb_build_object(
            'minutes', minutes, 'rescued', cardinality(rescued), 'job_ids', rescued[:100]), admin);
    END IF;
    RETURN cardinality(rescued);
END
$$;
REVOKE ALL ON FUNCTION cleanup_stuck_jobs(integer, uuid) FROM PUBLIC;
COMMENT ON FUNCTION cleanup_stuck_jobs(integer, uuid) IS
    'Takes jobs that have been stuck for so many minutes from dead or silent workers: SELECT cleanup_stuck_jobs(10)';

-- Cancels a waiting job, named by its job_id or its id; true if this call did it, false if it was cancelled before.
-- Raises for an unknown job, a finished one, and one that is running or waits for the chain. Where a signature is asked for its
-- payment, only the signer knows whether it was given: then it is sent all the same, else withdrawn.
CREATE OR REPLACE FUNCTION cancel_job(job text, admin uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found job_logs := job_named(job);
BEGIN
    IF found.status = 'cancelled' THEN
        RETURN false;
    ELSIF found.status = 'active' AND found.awaiting_chain THEN
        RAISE EXCEPTION 'job % cannot be cancelled: its transaction may still land on the chain', found.job_id USING
            ERRCODE = 'FP003', HINT = 'It ends by itself once the chain has decided: psql -f sql/inspect/money_in_flight.sql.';
    ELSIF found.status = 'active' THEN
        RAISE EXCEPTION 'job % cannot be cancelled while a worker runs it', found.job_id USING
            ERRCODE = 'FP003', HINT = 'Wait for the attempt to end, or stop the worker and try again.';
    ELSIF found.status NOT IN ('pending', 'retrying') THEN
        RAISE EXCEPTION 'job % has finished: it is %', found.job_id, found.status USING ERRCODE = 'FP003';
    END IF;

    UPDATE job_logs SET status = 'cancelled', completed_at = clock_timestamp() WHERE id = found.id;
    PERFORM write_admin_action('job.cancel', 'job', found.job_id, jsonb_build_object(
        'id', found.id, 'before', jsonb_build_object('status', found.status), 'after', jsonb_build_object('status', 'cancelled')), admin);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION cancel_job(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION cancel_job(text, uuid) IS 'Cancels a job that has sent nothing: SELECT cancel_job(''gas-topup-17'')';

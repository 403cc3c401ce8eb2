-- What operators do to jobs by hand.
--
-- Guarantees: none of these touches a job whose transaction may still land on the chain; each goes through
-- the state machine like everybody else.

-- What went wrong with a job, to be merged into its data: `history`, the last 20 failures, and `history_count`, how many there
-- were. A job that fails for ever must not grow for ever: every claim would carry all of it.
CREATE OR REPLACE FUNCTION one_more_in_history(data jsonb, error text) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT jsonb_build_object(
        'history', jsonb_path_query_array(
            coalesce(data -> 'history', '[]') || jsonb_build_array(jsonb_build_object('at', now(), 'error', error)),
            '$[last - 19 to last]'),
        'history_count', 1 + CASE
            WHEN jsonb_typeof(data -> 'history_count') = 'number' THEN (data ->> 'history_count')::numeric
            WHEN jsonb_typeof(data -> 'history') = 'array' THEN jsonb_array_length(data -> 'history')
            ELSE 0 END)
$$;

-- Live work and history in one row per job type.
CREATE OR REPLACE FUNCTION get_job_queue_stats()
RETURNS TABLE (
    job_type text, pending bigint, active bigint, retrying bigint, completed bigint, failed bigint, cancelled bigint,
    total bigint, awaiting_chain bigint, due bigint, oldest_due timestamptz, average_duration_ms numeric
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT known.job_type,
           count(*) FILTER (WHERE j.status = 'pending'),
           count(*) FILTER (WHERE j.status = 'active'),
           count(*) FILTER (WHERE j.status = 'retrying'),
           count(*) FILTER (WHERE j.status = 'completed'),
           count(*) FILTER (WHERE j.status = 'failed'),
           count(*) FILTER (WHERE j.status = 'cancelled'),
           count(j.id),
           count(*) FILTER (WHERE j.awaiting_chain),
           count(*) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
           min(j.run_at) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
           round(avg((j.data ->> 'duration_ms')::numeric)
                     FILTER (WHERE j.status = 'completed' AND jsonb_typeof(j.data -> 'duration_ms') = 'number'), 1)
    FROM unnest(ARRAY['gas-topup', 'consolidation', 'withdrawal', 'deposit-detection', 'sync'])
         WITH ORDINALITY AS known (job_type, place)
    LEFT JOIN job_logs j ON j.job_type = known.job_type
    GROUP BY known.job_type, known.place
    ORDER BY known.place
$$;

-- Lets the jobs of a type (NULL: of every type) that failed in the last hours start afresh; returns how many.
-- A wallet that has a live job of that type already is skipped, and of several failed ones only the newest runs.
CREATE OR REPLACE FUNCTION retry_failed_jobs(of_type text, hours integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    retried integer;
BEGIN
    IF of_type NOT IN ('sync', 'gas-topup', 'consolidation', 'deposit-detection', 'withdrawal') THEN
        RAISE EXCEPTION 'unknown job_type "%"', of_type USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'One of sync, gas-topup, consolidation, deposit-detection, withdrawal; NULL for all of them.';
    END IF;

    FOR look IN 1..10 LOOP
        BEGIN
            UPDATE job_logs SET
                status = 'pending', retry_count = 0, run_at = now(), started_at = NULL, completed_at = NULL
            WHERE id = ANY (ARRAY(
                SELECT newest.id FROM (
                    SELECT DISTINCT ON (f.job_type, coalesce(f.wallet_id::text, f.id::text)) f.id
                    FROM job_logs f
                    WHERE f.status = 'failed'
                      AND (of_type IS NULL OR f.job_type = of_type)
                      AND f.completed_at > now() - make_interval(hours => hours)
                      AND NOT EXISTS (
                          SELECT FROM job_logs live
                          WHERE live.wallet_id = f.wallet_id AND live.job_type = f.job_type
                            AND live.status IN ('pending', 'active', 'retrying'))
                    ORDER BY f.job_type, coalesce(f.wallet_id::text, f.id::text), f.completed_at DESC
                ) newest
            )) AND status = 'failed';
            GET DIAGNOSTICS retried = ROW_COUNT;
            RETURN retried;
        EXCEPTION WHEN unique_violation THEN
            -- Somebody queued a job for one of these wallets since we looked: look again.
            IF look = 10 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION retry_failed_jobs(text, integer) FROM PUBLIC;

-- Cancels a waiting job, named by its job_id or its id; true if this call did it, false if it was cancelled before.
-- Raises for an unknown job, a finished one, and one that is running or waits for the chain.
CREATE OR REPLACE FUNCTION cancel_job(job text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found job_logs;
BEGIN
    SELECT * INTO found FROM job_logs j
    WHERE j.job_id = job OR j.id::text = lower(job)
    ORDER BY (j.job_id = job) DESC LIMIT 1
    FOR UPDATE;

    IF found.id IS NULL THEN
        RAISE EXCEPTION 'there is no job "%"', job USING
            ERRCODE = 'no_data_found', HINT = 'Jobs are named by job_logs.job_id or job_logs.id.';
    ELSIF found.status = 'cancelled' THEN
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
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION cancel_job(text) FROM PUBLIC;

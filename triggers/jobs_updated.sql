-- What follows when jobs are updated, once per statement: a job that ends gives up its payments for which no signature is asked,
-- and those that become due NOTIFY jobs, {"gas-topup": 3}. A payment whose signature is asked for may have been signed: who
-- has the keys asks the signer, and then gives it up or sends it. Its job is not cancelled before: what is cancelled sends nothing.
--
-- One function with one pass over the new rows. Those that became due by this statement entered by this transaction
-- (job_rows.sql); the old rows are not needed.

CREATE OR REPLACE FUNCTION follow_updated_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    ended uuid[];
    due text[];
    unsent bigint[];
    bad record;
BEGIN
    SELECT array_agg(n.id) FILTER (WHERE n.completed_at IS NOT NULL AND n.job_type IN ('gas-topup', 'consolidation', 'withdrawal')),
           array_agg(n.job_type) FILTER (WHERE n.completed_at IS NULL AND n.status IN ('pending', 'retrying')
                                           AND n.run_at <= clock_timestamp() AND n.entered_xid = pg_current_xact_id())
    INTO ended, due
    FROM new_rows n;

    IF ended IS NOT NULL THEN
        SELECT n.job_id, r.request_id INTO bad
        FROM new_rows n
        JOIN transfers t ON t.job_id = n.id AND t.state = 'requested'
        JOIN signing_requests r ON r.bundle_id = t.bundle_id AND r.state = 'asked'
        WHERE n.status = 'cancelled' AND n.id = ANY (ended)
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'job % cannot be cancelled: a signature is asked for its payment (%), and may have been given',
                bad.job_id, bad.request_id USING
                ERRCODE = 'FP003', HINT = 'Its next attempt asks the signer; see that gas-topup and consolidation run.';
        END IF;
        unsent := ARRAY(
            SELECT t.id FROM transfers t
            WHERE t.state IN ('requested', 'expired') AND t.job_id = ANY (ended)
              AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
            ORDER BY t.id
            FOR NO KEY UPDATE
        );
        IF cardinality(unsent) > 0 THEN
            UPDATE transfers t
            SET state = 'rejected', error_message = coalesce(t.error_message, 'its job ended before it was signed')
            WHERE t.id = ANY (unsent);
        END IF;
    END IF;
    IF due IS NOT NULL THEN
        PERFORM notify_listeners('jobs', (
            SELECT jsonb_object_agg(d.job_type, d.jobs)::text
            FROM (SELECT job_type, count(*) AS jobs FROM unnest(due) AS job_type GROUP BY job_type) d));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER jobs_updated AFTER UPDATE ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION follow_updated_jobs();

-- What follows when jobs are inserted or updated, once per statement:
--   those that become due NOTIFY jobs, {"gas-topup": 3}: they wait (pending, retrying) and their run_at is reached. Jobs that are
--     inserted as active (enqueued and claimed at once) notify nobody;
--   those that have ended are counted, one delta for each type, status and chain (job_counts.sql takes back what was counted before);
--   one that ends gives up its payments for which no signature is asked. A payment whose signature is asked for may have been signed:
--     who has the keys asks the signer, and then gives it up or sends it.
--
-- One function with one pass over the new rows. Those that became due by an update entered by this transaction
-- (job_rows.sql); the old rows are not needed. Of inserted ones each counts, also one that brings its entered_xid along (from a
-- dump, or a copy of the table).

CREATE OR REPLACE FUNCTION follow_written_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    have_ended boolean;
    paying uuid[];
    due text[];
    unsent bigint[];
BEGIN
    SELECT bool_or(n.completed_at IS NOT NULL),
           array_agg(n.id) FILTER (WHERE n.completed_at IS NOT NULL AND n.job_type IN ('gas-topup', 'consolidation', 'withdrawal')),
           array_agg(n.job_type) FILTER (WHERE n.completed_at IS NULL AND n.status IN ('pending', 'retrying')
                                           AND n.run_at <= clock_timestamp()
                                           AND (TG_OP = 'INSERT' OR n.entered_xid = pg_current_xact_id()))
    INTO have_ended, paying, due
    FROM new_rows n;

    IF have_ended THEN
        INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
        SELECT '-infinity', c.job_type, c.status, c.chain_id, count(*), count(c.duration_ms), coalesce(sum(c.duration_ms), 0)
        FROM (
            SELECT n.job_type, n.status, coalesce(n.chain_id, 0) AS chain_id,
                   CASE WHEN n.status = 'completed' AND jsonb_typeof(n.data -> 'duration_ms') = 'number'
                        THEN (n.data -> 'duration_ms')::numeric END AS duration_ms
            FROM new_rows n WHERE n.completed_at IS NOT NULL
        ) c
        GROUP BY c.job_type, c.status, c.chain_id;
    END IF;
    IF paying IS NOT NULL AND TG_OP = 'UPDATE' THEN
        unsent := ARRAY(
            SELECT t.id FROM transfers t
            WHERE t.state IN ('requested', 'expired') AND t.job_id = ANY (paying)
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

CREATE OR REPLACE TRIGGER jobs_inserted AFTER INSERT ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION follow_written_jobs();

CREATE OR REPLACE TRIGGER jobs_updated AFTER UPDATE ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION follow_written_jobs();

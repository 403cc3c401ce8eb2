-- A job's status moves only along state_transitions, and every claim raises its lease.

CREATE OR REPLACE FUNCTION check_job_transitions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    bad record;
BEGIN
    -- A full join, because it is hashed whatever number of rows the plan was made for (see balance_flags.sql).
    -- It also catches a changed id: such a row has no partner.
    SELECT o.job_id, o.status AS from_state, n.status AS to_state, o.lease INTO bad
    FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
    WHERE o.status IS DISTINCT FROM n.status
      AND (NOT EXISTS (
               SELECT FROM state_transitions t
               WHERE t.subject = 'job' AND t.from_state = o.status AND t.to_state = n.status)
           OR (n.status = 'active' AND n.lease <= o.lease))
    LIMIT 1;

    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF bad.from_state IS NULL OR bad.to_state IS NULL THEN
        RAISE EXCEPTION 'the id of a job cannot change' USING ERRCODE = 'FP004';
    END IF;
    IF EXISTS (SELECT FROM state_transitions t
               WHERE t.subject = 'job' AND t.from_state = bad.from_state AND t.to_state = bad.to_state) THEN
        RAISE EXCEPTION 'job % was claimed without raising its lease (%)', bad.job_id, bad.lease USING
            ERRCODE = 'FP003', HINT = 'Set lease = lease + 1, so that an earlier worker cannot finish this attempt.';
    END IF;
    RAISE EXCEPTION 'job % is % and cannot become %', bad.job_id, bad.from_state, bad.to_state USING
        ERRCODE = 'FP003',
        HINT = coalesce((SELECT format('From %s it may become %s.', bad.from_state,
                                       string_agg(t.to_state, ', ' ORDER BY t.to_state))
                         FROM state_transitions t WHERE t.subject = 'job' AND t.from_state = bad.from_state),
                        'It has finished: queue a new job instead.');
END
$$;

CREATE OR REPLACE TRIGGER job_transitions AFTER UPDATE ON job_logs
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_job_transitions();

-- A job_id that was given by hand is not taken again while its job stands in job_history, nor ever if that job paid: who inserts the
-- same withdrawal twice, weeks apart, pays it once. The queue's own job_ids are unique by their sequence, and are not looked up.

CREATE OR REPLACE FUNCTION refuse_moved_job_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    taken_by uuid;
BEGIN
    SELECT n.id INTO taken_by FROM job_history_names n WHERE n.job_id = NEW.job_id;
    IF NOT FOUND AND current_setting('transaction_isolation') <> 'read committed' THEN
        -- One that moved after this transaction's snapshot is not seen by it: then this raises (40001).
        INSERT INTO job_history_names (job_id, id, month) VALUES (NEW.job_id, NEW.id, date_trunc('month', now())::date)
        ON CONFLICT (job_id) DO NOTHING;
        DELETE FROM job_history_names n WHERE n.job_id = NEW.job_id AND n.id = NEW.id;
    END IF;
    IF taken_by IS NOT NULL THEN
        RAISE EXCEPTION 'job_id "%" is taken: its job has ended and stands in job_history', NEW.job_id USING
            ERRCODE = 'unique_violation', DETAIL = format('Key (job_id)=(%s) already exists.', NEW.job_id), TABLE = 'job_history',
            HINT = 'See it: flagpost jobs show JOB. A new job needs a job_id of its own.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER job_names_insert AFTER INSERT ON job_logs
FOR EACH ROW WHEN (NEW.job_id <> NEW.job_type || '-' || NEW.seq) EXECUTE FUNCTION refuse_moved_job_id();
CREATE OR REPLACE TRIGGER job_names_update AFTER UPDATE OF job_id ON job_logs
FOR EACH ROW WHEN (NEW.job_id <> OLD.job_id) EXECUTE FUNCTION refuse_moved_job_id();

-- A finished job (completed, cancelled) does not change at all.

CREATE OR REPLACE FUNCTION refuse_changed_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'job % is % and does not change any more', OLD.job_id, OLD.status USING
        ERRCODE = CASE WHEN OLD.status = NEW.status THEN 'FP004' ELSE 'FP003' END,
        HINT = 'Queue a new job instead.';
END
$$;

CREATE OR REPLACE TRIGGER finished_jobs BEFORE UPDATE ON job_logs
FOR EACH ROW WHEN (OLD.status IN ('completed', 'cancelled') AND OLD.* IS DISTINCT FROM NEW.*)
EXECUTE FUNCTION refuse_changed_job();

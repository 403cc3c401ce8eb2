-- A row of the queue is kept complete, whoever writes it: a job that has ended has the time of its end, and one that is retried
-- has none; one that begins to wait is among those that claims read, with the transaction by which it did, and one that has
-- ended is not; updated_at is set for whoever leaves it out (the queue writes it itself). A finished job (completed, cancelled)
-- does not change at all.
--
-- One condition for all of it, because each is read and prepared anew for every statement. It holds for no claim, and for the end
-- of an attempt only if the job waits again.

CREATE OR REPLACE FUNCTION keep_job_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.status IN ('completed', 'cancelled') THEN
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'job % is % and does not change any more', OLD.job_id, OLD.status USING
            ERRCODE = CASE WHEN OLD.status = NEW.status THEN 'FP004' ELSE 'FP003' END,
            HINT = 'Queue a new job instead.';
    END IF;
    IF (NEW.status IN ('completed', 'failed', 'cancelled')) <> (NEW.completed_at IS NOT NULL) THEN
        NEW.completed_at := CASE WHEN NEW.completed_at IS NULL THEN clock_timestamp() END;
    END IF;
    IF NEW.completed_at IS NOT NULL THEN
        NEW.queued := false;
    END IF;
    IF TG_OP = 'INSERT' THEN
        RETURN NEW;
    END IF;
    IF OLD.updated_at IS NOT DISTINCT FROM NEW.updated_at THEN
        NEW.updated_at := now();
    END IF;
    IF (NEW.status IN ('pending', 'retrying')
            AND (OLD.status NOT IN ('pending', 'retrying') OR (OLD.run_at > now() AND OLD.run_at <> NEW.run_at)))
       OR (OLD.awaiting_chain AND NOT NEW.awaiting_chain) THEN
        NEW.queued := NEW.queued OR NEW.status IN ('pending', 'retrying');
        NEW.entered_xid := pg_current_xact_id();
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER job_rows_insert BEFORE INSERT ON job_logs
FOR EACH ROW WHEN (
    (NEW.status IN ('completed', 'failed', 'cancelled')) <> (NEW.completed_at IS NOT NULL)
    OR (NEW.queued AND NEW.completed_at IS NOT NULL)
)
EXECUTE FUNCTION keep_job_row();

CREATE OR REPLACE TRIGGER job_rows_update BEFORE UPDATE ON job_logs
FOR EACH ROW WHEN (
    OLD.updated_at IS NOT DISTINCT FROM NEW.updated_at
    OR OLD.completed_at IS NOT NULL
    OR (NEW.status = 'active') <> (NEW.completed_at IS NULL)
    OR (NEW.queued AND NEW.completed_at IS NOT NULL)
    OR (OLD.awaiting_chain AND NEW.completed_at IS NULL)
)
EXECUTE FUNCTION keep_job_row();

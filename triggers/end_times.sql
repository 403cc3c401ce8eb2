-- What has ended has a time of its end: completed_at of jobs and settled_at of transfers are filled in for whoever leaves
-- them out (an operator in psql), and emptied when a failed job is retried.

CREATE OR REPLACE FUNCTION keep_job_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.completed_at := CASE WHEN NEW.completed_at IS NULL THEN clock_timestamp() END;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION keep_transfer_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.settled_at := CASE WHEN NEW.settled_at IS NULL THEN clock_timestamp() END;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER end_times BEFORE INSERT OR UPDATE ON job_logs
FOR EACH ROW WHEN ((NEW.status IN ('completed', 'failed', 'cancelled')) <> (NEW.completed_at IS NOT NULL))
EXECUTE FUNCTION keep_job_end();

CREATE OR REPLACE TRIGGER end_times BEFORE INSERT OR UPDATE ON transfers
FOR EACH ROW WHEN ((NEW.state IN ('final', 'reverted', 'rejected')) <> (NEW.settled_at IS NOT NULL))
EXECUTE FUNCTION keep_transfer_end();

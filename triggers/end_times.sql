-- A transfer that has ended has the time of its end: settled_at is filled in for whoever leaves it out (an operator in psql).
-- Jobs have theirs by job_rows.sql.

CREATE OR REPLACE FUNCTION keep_transfer_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.settled_at := CASE WHEN NEW.settled_at IS NULL THEN clock_timestamp() END;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER end_times BEFORE INSERT OR UPDATE ON transfers
FOR EACH ROW WHEN ((NEW.state IN ('final', 'reverted', 'rejected')) <> (NEW.settled_at IS NOT NULL))
EXECUTE FUNCTION keep_transfer_end();

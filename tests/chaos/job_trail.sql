-- Every status that a job has ever had, kept beside the table for the judge of a run: a job that vanishes, or that
-- ends twice, leaves its trace here.
CREATE TABLE job_trail (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job uuid NOT NULL,
    status text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX job_trail_job ON job_trail (job, place);

CREATE FUNCTION keep_job_trail() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO job_trail (job, status) VALUES (OLD.id, '(deleted)');
    ELSIF TG_OP = 'INSERT' OR NEW.status <> OLD.status THEN
        INSERT INTO job_trail (job, status) VALUES (NEW.id, NEW.status);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_job_trail AFTER INSERT OR UPDATE OF status OR DELETE ON job_logs
FOR EACH ROW EXECUTE FUNCTION keep_job_trail();

-- Jobs that are inserted due NOTIFY jobs once per statement: {"gas-topup": 3}. Due is: waiting (pending, retrying) with run_at
-- reached. Jobs inserted as active (enqueued and claimed at once) notify nobody. Those that become due by an update do so in
-- jobs_updated.sql.

CREATE OR REPLACE FUNCTION notify_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    counts jsonb;
BEGIN
    SELECT jsonb_object_agg(due.job_type, due.jobs) INTO counts
    FROM (
        SELECT n.job_type, count(*) AS jobs FROM new_rows n
        WHERE n.status IN ('pending', 'retrying') AND n.run_at <= clock_timestamp()
        GROUP BY n.job_type
    ) due;
    IF counts IS NOT NULL THEN
        PERFORM notify_listeners('jobs', counts::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER jobs_due_insert AFTER INSERT ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_jobs();

-- Jobs that become due NOTIFY jobs once per statement: {"gas-topup": 3}. Due is: waiting (pending, retrying) with run_at reached,
-- inserted so or changed to it. Jobs inserted as active (enqueued and claimed at once) notify nobody.

CREATE OR REPLACE FUNCTION notify_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    at_present timestamptz := clock_timestamp();
    counts jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows n WHERE n.status IN ('pending', 'retrying') AND n.run_at <= at_present) THEN
        RETURN NULL;
    END IF;

    IF TG_OP = 'INSERT' THEN
        SELECT jsonb_object_agg(due.job_type, due.jobs) INTO counts
        FROM (
            SELECT n.job_type, count(*) AS jobs FROM new_rows n
            WHERE n.status IN ('pending', 'retrying') AND n.run_at <= at_present
            GROUP BY n.job_type
        ) due;
    ELSE
        SELECT jsonb_object_agg(due.job_type, due.jobs) INTO counts
        FROM (
            SELECT woken.job_type, count(*) AS jobs
            FROM (
                SELECT n.id, n.job_type FROM new_rows n
                WHERE n.status IN ('pending', 'retrying') AND n.run_at <= at_present
                EXCEPT
                SELECT o.id, o.job_type FROM old_rows o
                WHERE o.status IN ('pending', 'retrying') AND o.run_at <= at_present
            ) woken
            GROUP BY woken.job_type
        ) due;
    END IF;

    IF counts IS NOT NULL THEN
        PERFORM notify_listeners('jobs', counts::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER jobs_due_insert AFTER INSERT ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_jobs();

CREATE OR REPLACE TRIGGER jobs_due_update AFTER UPDATE ON job_logs
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_jobs();

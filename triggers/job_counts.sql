-- Jobs that end are counted as they do (jobs_written.sql), and taken out of the counts here: deleted, emptied, written again. Moved
-- to job_history they are counted there, by month, and the month's version is raised.

CREATE OR REPLACE FUNCTION uncount_deleted_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
    SELECT '-infinity', c.job_type, c.status, c.chain_id, -count(*), -count(c.duration_ms), -coalesce(sum(c.duration_ms), 0)
    FROM (
        SELECT o.job_type, o.status, coalesce(o.chain_id, 0) AS chain_id,
               CASE WHEN o.status = 'completed' AND jsonb_typeof(o.data -> 'duration_ms') = 'number'
                    THEN (o.data -> 'duration_ms')::numeric END AS duration_ms
        FROM old_rows o WHERE o.completed_at IS NOT NULL
    ) c
    GROUP BY c.job_type, c.status, c.chain_id;
    RETURN NULL;
END
$$;

-- What was counted of a row that had ended and is written again: a dead letter that is retried. As it is now it is counted with its
-- statement. A trigger on rows, which nearly no statement calls: it spares all the others their old rows.
CREATE OR REPLACE FUNCTION uncount_ended_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    duration numeric := CASE WHEN OLD.status = 'completed' AND jsonb_typeof(OLD.data -> 'duration_ms') = 'number'
                             THEN (OLD.data -> 'duration_ms')::numeric END;
BEGIN
    INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
    VALUES ('-infinity', OLD.job_type, OLD.status, coalesce(OLD.chain_id, 0), -1, -num_nonnulls(duration), -coalesce(duration, 0));
    RETURN NULL;
END
$$;

-- The table is locked by who empties it: what was counted of it is what has been committed, and their own.
CREATE OR REPLACE FUNCTION count_emptied_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
    SELECT '-infinity', t.job_type, t.status, t.chain_id, -t.jobs, -t.timed, -t.duration_ms
    FROM job_totals t
    WHERE t.month IS NULL;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION count_moved_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    change integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    WITH counted AS (
        SELECT c.month, c.job_type, c.status, c.chain_id, count(*) AS jobs, count(c.duration_ms) AS timed,
               coalesce(sum(c.duration_ms), 0) AS duration_ms, max(c.seq) AS highest_seq
        FROM (
            SELECT date_trunc('month', r.completed_at AT TIME ZONE 'UTC')::date AS month, r.job_type, r.status,
                   coalesce(r.chain_id, 0) AS chain_id, r.seq,
                   CASE WHEN r.status = 'completed' AND jsonb_typeof(r.data -> 'duration_ms') = 'number'
                        THEN (r.data -> 'duration_ms')::numeric END AS duration_ms
            FROM changed_rows r
        ) c
        GROUP BY c.month, c.job_type, c.status, c.chain_id
    ), deltas AS (
        INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
        SELECT c.month, c.job_type, c.status, c.chain_id, change * c.jobs, change * c.timed, change * c.duration_ms FROM counted c
    )
    UPDATE job_history_months m SET version = m.version + 1, highest_seq = greatest(m.highest_seq, changed.highest_seq)
    FROM (SELECT c.month, max(c.highest_seq) AS highest_seq FROM counted c GROUP BY c.month) changed
    WHERE m.month = changed.month;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER job_counts_again AFTER UPDATE ON job_logs
FOR EACH ROW WHEN (OLD.completed_at IS NOT NULL) EXECUTE FUNCTION uncount_ended_job();

CREATE OR REPLACE TRIGGER job_counts_delete AFTER DELETE ON job_logs
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION uncount_deleted_jobs();

CREATE OR REPLACE TRIGGER job_counts_truncate AFTER TRUNCATE ON job_logs
FOR EACH STATEMENT EXECUTE FUNCTION count_emptied_jobs();

CREATE OR REPLACE TRIGGER job_counts_insert AFTER INSERT ON job_history
REFERENCING NEW TABLE AS changed_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_moved_jobs();

CREATE OR REPLACE TRIGGER job_counts_delete AFTER DELETE ON job_history
REFERENCING OLD TABLE AS changed_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_moved_jobs();

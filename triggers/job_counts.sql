-- Jobs that end are counted as they do: one delta for each type, status and chain of which a statement changed the number, none
-- where no job ended. Moved to job_history they are counted there, by month, and the month's version is raised.

CREATE OR REPLACE FUNCTION count_ended_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    -- Whether old rows had ended is asked first: those of claims and first ends, which are nearly all, had not.
    IF TG_OP = 'DELETE' THEN
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
    ELSIF TG_OP = 'UPDATE' THEN
        IF EXISTS (SELECT FROM old_rows o WHERE o.completed_at IS NOT NULL) THEN
            INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
            SELECT '-infinity', c.job_type, c.status, c.chain_id, sum(c.change),
                   coalesce(sum(c.change) FILTER (WHERE c.duration_ms IS NOT NULL), 0), coalesce(sum(c.change * c.duration_ms), 0)
            FROM (
                SELECT r.job_type, r.status, coalesce(r.chain_id, 0) AS chain_id, r.change,
                       CASE WHEN r.status = 'completed' AND jsonb_typeof(r.data -> 'duration_ms') = 'number'
                            THEN (r.data -> 'duration_ms')::numeric END AS duration_ms
                FROM (
                    SELECT n.job_type, n.status, n.chain_id, n.data, 1 AS change FROM new_rows n WHERE n.completed_at IS NOT NULL
                    UNION ALL
                    SELECT o.job_type, o.status, o.chain_id, o.data, -1 FROM old_rows o WHERE o.completed_at IS NOT NULL
                ) r
            ) c
            GROUP BY c.job_type, c.status, c.chain_id
            HAVING sum(c.change) <> 0;
            RETURN NULL;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM new_rows n WHERE n.completed_at IS NOT NULL) THEN
        INSERT INTO job_count_deltas (month, job_type, status, chain_id, jobs, timed, duration_ms)
        SELECT '-infinity', c.job_type, c.status, c.chain_id, count(*), count(c.duration_ms), coalesce(sum(c.duration_ms), 0)
        FROM (
            SELECT n.job_type, n.status, coalesce(n.chain_id, 0) AS chain_id,
                   CASE WHEN n.status = 'completed' AND jsonb_typeof(n.data -> 'duration_ms') = 'number'
                        THEN (n.data -> 'duration_ms')::numeric END AS duration_ms
            FROM new_rows n WHERE n.completed_at IS NOT NULL
        ) c
        GROUP BY c.job_type, c.status, c.chain_id;
    END IF;
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

CREATE OR REPLACE TRIGGER job_counts_insert AFTER INSERT ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();

CREATE OR REPLACE TRIGGER job_counts_update AFTER UPDATE ON job_logs
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();

CREATE OR REPLACE TRIGGER job_counts_delete AFTER DELETE ON job_logs
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_ended_jobs();

CREATE OR REPLACE TRIGGER job_counts_truncate AFTER TRUNCATE ON job_logs
FOR EACH STATEMENT EXECUTE FUNCTION count_emptied_jobs();

CREATE OR REPLACE TRIGGER job_counts_insert AFTER INSERT ON job_history
REFERENCING NEW TABLE AS changed_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_moved_jobs();

CREATE OR REPLACE TRIGGER job_counts_delete AFTER DELETE ON job_history
REFERENCING OLD TABLE AS changed_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_moved_jobs();

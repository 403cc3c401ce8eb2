-- The counts of jobs that have ended: triggers/job_counts.sql adds a delta for each statement that changed one, the sweep folds
-- deltas into job_counts (pipeline/workers/history.py), and the view job_totals adds up both.
--
-- Guarantees: a delta is counted once, whoever folds at the same time; a reader sees each job that has ended once, folded or not.

-- Folds up to `p_deltas` of the oldest deltas; returns how many it took.
CREATE OR REPLACE FUNCTION fold_job_counts(p_deltas integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    taken integer;
BEGIN
    PERFORM lock_row('job counts');
    WITH oldest AS (
        DELETE FROM job_count_deltas d
        WHERE d.id = ANY (ARRAY(SELECT o.id FROM job_count_deltas o ORDER BY o.id LIMIT p_deltas))
        RETURNING d.*
    ), folded AS (
        INSERT INTO job_counts AS c (month, job_type, status, chain_id, jobs, timed, duration_ms)
        SELECT o.month, o.job_type, o.status, o.chain_id, sum(o.jobs), sum(o.timed), sum(o.duration_ms)
        FROM oldest o
        GROUP BY o.month, o.job_type, o.status, o.chain_id
        ON CONFLICT (month, job_type, status, chain_id) DO UPDATE SET
            jobs = c.jobs + excluded.jobs, timed = c.timed + excluded.timed, duration_ms = c.duration_ms + excluded.duration_ms
    )
    SELECT count(*) INTO taken FROM oldest;
    RETURN taken;
END
$$;
REVOKE ALL ON FUNCTION fold_job_counts(integer) FROM PUBLIC;

-- Counts anew, from the rows: for rows that were written or deleted while triggers did not fire. Jobs may end meanwhile: what one
-- snapshot sees is counted, and of the deltas those that it sees are dropped, so that the others are added to it. Reads all jobs.
CREATE OR REPLACE FUNCTION recount_jobs() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM lock_row('job counts');
    WITH seen AS (
        DELETE FROM job_count_deltas
    ), counted AS MATERIALIZED (
        SELECT e.month, e.job_type, e.status, e.chain_id, count(*) AS jobs, count(e.duration_ms) AS timed,
               coalesce(sum(e.duration_ms), 0) AS duration_ms
        FROM (
            SELECT j.month, j.job_type, j.status, coalesce(j.chain_id, 0) AS chain_id,
                   CASE WHEN j.status = 'completed' AND jsonb_typeof(j.data -> 'duration_ms') = 'number'
                        THEN (j.data ->> 'duration_ms')::numeric END AS duration_ms
            FROM (
                SELECT '-infinity'::date AS month, l.job_type, l.status, l.chain_id, l.data
                FROM job_logs l WHERE l.completed_at IS NOT NULL
                UNION ALL
                SELECT date_trunc('month', h.completed_at AT TIME ZONE 'UTC')::date, h.job_type, h.status, h.chain_id, h.data
                FROM job_history h
            ) j
        ) e
        GROUP BY e.month, e.job_type, e.status, e.chain_id
    ), stored AS (
        INSERT INTO job_counts (month, job_type, status, chain_id, jobs, timed, duration_ms)
        SELECT c.month, c.job_type, c.status, c.chain_id, c.jobs, c.timed, c.duration_ms FROM counted c
        ON CONFLICT (month, job_type, status, chain_id) DO UPDATE SET
            jobs = excluded.jobs, timed = excluded.timed, duration_ms = excluded.duration_ms
    )
    DELETE FROM job_counts c
    WHERE NOT EXISTS (
        SELECT FROM counted k
        WHERE k.month = c.month AND k.job_type = c.job_type AND k.status = c.status AND k.chain_id = c.chain_id);
END
$$;
REVOKE ALL ON FUNCTION recount_jobs() FROM PUBLIC;
COMMENT ON FUNCTION recount_jobs() IS 'Counts ended jobs anew, where rows were written while triggers did not fire: SELECT recount_jobs()';

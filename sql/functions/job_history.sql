-- The way of finished jobs from job_logs to job_history, and back (pipeline/workers/history.py).
--
-- Guarantees: a job is in one of the two tables, and moves in one transaction; one that has ended for less than 2 days (failed: 31)
-- never moves, so that whoever looks back on what ended (doctor: a day; rests after dead letters: up to 30) finds it; nor does one
-- with a payment that is not settled, one whose dead letter a flag still rests after, or one that keeps a wallet frozen
-- (frozen_since_adoption). A wrong clock of the server alone moves nothing: `p_now` is the time of the process that asks.

-- A text as the id of a job; NULL: it is none.
CREATE OR REPLACE FUNCTION job_uuid(p_text text) RETURNS uuid
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN p_text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_text::uuid END
$$;

-- The lowest of the ids that jobs are given at that time.
CREATE OR REPLACE FUNCTION job_id_at(p_time timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT (overlay(lpad(to_hex((extract(epoch FROM p_time) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || '-8000-000000000000')::uuid
$$;

-- The next `p_jobs` ids of job_logs behind `p_after` whose jobs may be old enough. Ids are drawn from the clock: those of younger jobs
-- are passed over; ids that somebody else gave lie anywhere.
CREATE OR REPLACE FUNCTION jobs_to_move(p_after uuid, p_jobs integer, p_ended_before timestamptz) RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    young uuid := job_id_at(p_ended_before);
    beyond uuid := job_id_at(clock_timestamp() + interval '1 day');
    page uuid[] := ARRAY(SELECT j.id FROM job_logs j WHERE j.id > p_after AND j.id < young ORDER BY j.id LIMIT p_jobs);
BEGIN
    IF cardinality(page) < p_jobs THEN
        page := page || ARRAY(SELECT j.id FROM job_logs j WHERE j.id > greatest(p_after, beyond)
                              ORDER BY j.id LIMIT p_jobs - cardinality(page));
    END IF;
    RETURN page;
END
$$;

-- Moves these, whose months are there; returns how many. Raises foreign_key_violation where something refers to one of them.
CREATE OR REPLACE FUNCTION move_jobs(p_ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved bigint;
BEGIN
    WITH gone AS (
        DELETE FROM job_logs j WHERE j.id = ANY (p_ids) RETURNING j.*
    ), names AS (
        INSERT INTO job_history_names (job_id, id, month)
        SELECT g.job_id, g.id, date_trunc('month', g.completed_at AT TIME ZONE 'UTC')::date
        FROM gone g WHERE g.job_id <> g.job_type || '-' || g.seq
        ON CONFLICT (job_id) DO NOTHING
    )
    INSERT INTO job_history (
        id, seq, job_id, job_type, status, wallet_address, wallet_id, chain_id, user_id, triggered_by, priority, data, error_message,
        retry_count, max_retries, run_at, lease, started_at, completed_at, created_at, updated_at)
    SELECT g.id, g.seq, g.job_id, g.job_type, g.status, g.wallet_address, g.wallet_id, g.chain_id, g.user_id, g.triggered_by,
           g.priority, g.data, g.error_message, g.retry_count, g.max_retries, g.run_at, g.lease, g.started_at, g.completed_at,
           g.created_at, g.updated_at
    FROM gone g;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
REVOKE ALL ON FUNCTION move_jobs(uuid[]) FROM PUBLIC;

-- Moves those of the next `p_jobs` jobs that ended so long ago; `up_to` is the id to go on behind, NULL at the end.
CREATE OR REPLACE FUNCTION move_finished_jobs(
    p_after uuid, p_jobs integer, p_finished interval, p_failed interval, p_now timestamptz
) RETURNS TABLE (up_to uuid, moved bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    at timestamptz := least(clock_timestamp(), p_now);
    finished_before timestamptz := at - greatest(p_finished, interval '2 days');
    failed_before timestamptz := at - greatest(p_failed, interval '31 days');
    page uuid[] := jobs_to_move(p_after, p_jobs, greatest(finished_before, failed_before));
    old_ones uuid[];
    one uuid;
BEGIN
    up_to := CASE WHEN cardinality(page) = p_jobs THEN page[p_jobs] END;
    old_ones := ARRAY(
        SELECT j.id FROM job_logs j
        WHERE j.id = ANY (page) AND j.completed_at >= '2000-01-01 00:00:00+00'
          AND j.completed_at < CASE j.status WHEN 'failed' THEN failed_before ELSE finished_before END
          AND j.data #> '{adopted,frozen}' IS NULL
          AND NOT EXISTS (
              SELECT FROM transfers t
              WHERE t.job_id = j.id
                AND (t.state NOT IN ('final', 'reverted', 'rejected')
                     OR EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
                     OR EXISTS (SELECT FROM chain_transactions a
                                WHERE a.bundle_id = t.bundle_id AND a.state IN ('broadcasting', 'included'))))
          AND NOT (j.status = 'failed' AND EXISTS (
              SELECT FROM wallets w
              WHERE w.id = j.wallet_id AND w.wanted_job = j.job_type AND j.completed_at > w.flagged_since))
        ORDER BY j.id
        FOR UPDATE SKIP LOCKED);
    PERFORM add_history_month(needed.month)
    FROM (SELECT DISTINCT date_trunc('month', j.completed_at AT TIME ZONE 'UTC')::date AS month
          FROM job_logs j WHERE j.id = ANY (old_ones)) needed;

    BEGIN
        moved := move_jobs(old_ones);
    EXCEPTION WHEN foreign_key_violation THEN
        -- A table of the operators' own refers to one of them, or somebody has just begun to pay for it: that one stays.
        moved := 0;
        FOREACH one IN ARRAY old_ones LOOP
            BEGIN
                moved := moved + move_jobs(ARRAY[one]);
            EXCEPTION WHEN foreign_key_violation THEN
                CONTINUE;
            END;
        END LOOP;
    END;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION move_finished_jobs(uuid, integer, interval, interval, timestamptz) FROM PUBLIC;

-- Moves jobs back to job_logs, as they were; returns how many. Who retries a dead letter does it (admin_jobs.sql).
CREATE OR REPLACE FUNCTION move_back_jobs(p_ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved bigint;
BEGIN
    WITH back AS (
        DELETE FROM job_history h WHERE h.id = ANY (p_ids) RETURNING h.*
    ), names AS (
        DELETE FROM job_history_names n USING back b WHERE n.job_id = b.job_id AND n.id = b.id
    )
    INSERT INTO job_logs (
        id, seq, job_id, job_type, status, wallet_address, wallet_id, chain_id, user_id, triggered_by, priority, data, error_message,
        retry_count, max_retries, run_at, lease, started_at, completed_at, created_at, updated_at)
    SELECT b.id, b.seq, b.job_id, b.job_type, b.status, b.wallet_address, b.wallet_id, b.chain_id, b.user_id, b.triggered_by,
           b.priority, b.data, b.error_message, b.retry_count, b.max_retries, b.run_at, b.lease, b.started_at, b.completed_at,
           b.created_at, b.updated_at
    FROM back b;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
REVOKE ALL ON FUNCTION move_back_jobs(uuid[]) FROM PUBLIC;

-- The newest jobs of an address, in job_logs and job_history, by the indexes of its wallets: for people. `p_before`: only those created
-- before it, which is the next page.
CREATE OR REPLACE FUNCTION jobs_of_wallet(p_address text, p_rows integer DEFAULT 50, p_before timestamptz DEFAULT 'infinity')
RETURNS TABLE (
    id uuid, job_id text, job_type text, status text, triggered_by text, error_message text, data jsonb, created_at timestamptz,
    started_at timestamptz, completed_at timestamptz, in_history boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
-- Planned once a session: with a partition a month that takes longer than to read the jobs.
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT a.id, a.job_id, a.job_type, a.status, a.triggered_by, a.error_message, a.data, a.created_at, a.started_at, a.completed_at,
           a.in_history
    FROM wallets w
    CROSS JOIN LATERAL (
        (SELECT l.id, l.job_id, l.job_type, l.status, l.triggered_by, l.error_message, l.data, l.created_at, l.started_at,
                l.completed_at, false AS in_history
         FROM job_logs l
         WHERE l.wallet_id = w.id AND l.status IN ('pending', 'active', 'retrying') AND l.completed_at IS NULL
           AND l.created_at < p_before)
        UNION ALL
        (SELECT e.id, e.job_id, e.job_type, e.status, e.triggered_by, e.error_message, e.data, e.created_at, e.started_at,
                e.completed_at, false
         FROM job_logs e
         WHERE e.wallet_id = w.id AND e.completed_at IS NOT NULL AND e.created_at < p_before
         ORDER BY e.created_at DESC LIMIT p_rows)
        UNION ALL
        (SELECT h.id, h.job_id, h.job_type, h.status, h.triggered_by, h.error_message, h.data, h.created_at, h.started_at,
                h.completed_at, true
         FROM job_history h
         WHERE h.wallet_id = w.id AND h.created_at < p_before
         ORDER BY h.created_at DESC LIMIT p_rows)
    ) a
    WHERE w.address = p_address
    ORDER BY a.created_at DESC
    LIMIT p_rows;
END
$$;
COMMENT ON FUNCTION jobs_of_wallet(text, integer, timestamptz) IS
    'The newest jobs of an address, finished months ago or not: SELECT * FROM jobs_of_wallet(''T…'')';

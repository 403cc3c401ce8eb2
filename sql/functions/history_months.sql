-- The months of job_history: one partition each, made before the first job of it moves, dropped as a whole.
--
-- Guarantees: nobody writes jobs while a month is made or dropped for longer than 5 s (55P03, lock_not_available: the sweep tries again);
-- a month is dropped only where system_config history.keep_months says so, counted by the clocks of server and process, and only
-- once it was exported as it is (or history.drop_unexported is true); what was counted of it goes with it; job_ids of jobs that paid
-- stay taken.

-- Here as well as in the migration, so that it is back after a restore of the schema public alone.
CREATE SCHEMA IF NOT EXISTS flagpost_history;
REVOKE ALL ON SCHEMA flagpost_history FROM PUBLIC;

-- Makes the partition of the month that a day is in. False: it was there. Raises for a day before 2000, or after the next month.
CREATE OR REPLACE FUNCTION add_history_month(p_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    first_day date := date_trunc('month', p_day)::date;
    next_month date := (date_trunc('month', p_day) + interval '1 month')::date;
    part text := 'jobs_' || to_char(p_day, 'YYYY_MM');
BEGIN
    IF to_regclass('flagpost_history.' || part) IS NOT NULL THEN
        RETURN false;
    ELSIF p_day NOT BETWEEN '2000-01-01' AND (now() + interval '62 days')::date THEN
        RAISE EXCEPTION 'job_history has no month of %', p_day USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Months are made from 2000 on, and up to the next one.';
    END IF;
    PERFORM lock_row('months of job_history');
    IF to_regclass('flagpost_history.' || part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE flagpost_history.%I (LIKE public.job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
    EXECUTE format('ALTER TABLE public.job_history ATTACH PARTITION flagpost_history.%I FOR VALUES FROM (%L) TO (%L)', part,
                   to_char(first_day, 'YYYY-MM-DD" 00:00:00+00"'), to_char(next_month, 'YYYY-MM-DD" 00:00:00+00"'));
    INSERT INTO job_history_months (month) VALUES (first_day) ON CONFLICT (month) DO NOTHING;
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION add_history_month(date) FROM PUBLIC;

-- A setting of the section history in system_config, as a row of its own or in the section's row; NULL: its default.
CREATE OR REPLACE FUNCTION history_setting(p_name text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce((SELECT c.value #>> '{}' FROM system_config c WHERE c.key = 'history.' || p_name),
                    (SELECT c.value ->> p_name FROM system_config c WHERE c.key = 'history' AND jsonb_typeof(c.value) = 'object'))
$$;

-- The months of job_history: its jobs, its size, whether it was exported as it is, and from when on it is dropped (NULL: never).
CREATE OR REPLACE FUNCTION history_months()
RETURNS TABLE (
    month date, jobs bigint, failed bigint, bytes bigint, is_exported boolean, exported_at timestamptz, exported_to text,
    leaves_on date, waits_for_export boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    keep integer := CASE WHEN history_setting('keep_months') ~ '^[0-9]{1,4}$' THEN nullif(history_setting('keep_months')::integer, 0) END;
    must_be_exported boolean := history_setting('drop_unexported') IS DISTINCT FROM 'true';
BEGIN
    RETURN QUERY
    SELECT known.*,
           must_be_exported AND known.leaves_on <= now() AND known.jobs > 0 AND NOT known.is_exported
    FROM (
        SELECT m.month, coalesce(c.jobs, 0)::bigint AS jobs, coalesce(c.failed, 0)::bigint AS failed,
               pg_total_relation_size(to_regclass('flagpost_history.jobs_' || to_char(m.month, 'YYYY_MM'))) AS bytes,
               coalesce(m.exported_version = m.version, false) AS is_exported, m.exported_at, m.exported_to,
               (m.month + (keep + 1) * interval '1 month')::date AS leaves_on
        FROM job_history_months m
        LEFT JOIN (
            SELECT t.month, sum(t.jobs) AS jobs, sum(t.jobs) FILTER (WHERE t.status = 'failed') AS failed
            FROM job_totals t GROUP BY t.month
        ) c ON c.month = m.month
    ) known
    ORDER BY known.month;
END
$$;
REVOKE ALL ON FUNCTION history_months() FROM PUBLIC;

-- Drops a month whose time has come. False: it has not, or the month waits for its export.
CREATE OR REPLACE FUNCTION drop_history_month(p_month date, p_now timestamptz, admin uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    part text := 'jobs_' || to_char(p_month, 'YYYY_MM');
    known record;
BEGIN
    PERFORM lock_row('job counts');
    -- Whoever moves a job into the month has ended, and nobody begins, before its version is read.
    LOCK TABLE job_history IN ACCESS EXCLUSIVE MODE;
    SELECT h.* INTO known FROM history_months() h WHERE h.month = p_month;
    IF known.leaves_on IS NULL OR known.leaves_on > least(clock_timestamp(), p_now)
       OR coalesce(known.waits_for_export, false) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE public.job_history DETACH PARTITION flagpost_history.%I', part);
    EXECUTE format('DROP TABLE flagpost_history.%I', part);
    DELETE FROM job_history_names n
    WHERE n.month = p_month AND NOT EXISTS (SELECT FROM transfers t WHERE t.job_id = n.id);
    DELETE FROM job_counts c WHERE c.month = p_month;
    DELETE FROM job_count_deltas d WHERE d.month = p_month;
    DELETE FROM job_history_months m WHERE m.month = p_month;
    PERFORM write_admin_action('history.drop_month', 'job_history', p_month::text, jsonb_build_object(
        'jobs', known.jobs, 'exported_to', known.exported_to), admin);
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION drop_history_month(date, timestamptz, uuid) FROM PUBLIC;
COMMENT ON FUNCTION drop_history_month(date, timestamptz, uuid) IS
    'Drops a month of job_history whose time has come, as the sweep does: SELECT drop_history_month(''2020-01-01'', now())';

-- Notes that a month was written to a file as it was at `p_version`; whether that is what it is now.
CREATE OR REPLACE FUNCTION note_history_export(p_month date, p_version bigint, p_rows bigint, p_file text, admin uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    is_current boolean;
BEGIN
    UPDATE job_history_months m
    SET exported_at = clock_timestamp(), exported_version = p_version, exported_rows = p_rows, exported_to = p_file
    WHERE m.month = p_month
    RETURNING m.version = p_version INTO is_current;
    PERFORM write_admin_action('history.export', 'job_history', p_month::text, jsonb_build_object(
        'rows', p_rows, 'file', p_file), admin);
    RETURN coalesce(is_current, false);
END
$$;
REVOKE ALL ON FUNCTION note_history_export(date, bigint, bigint, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION note_history_export(date, bigint, bigint, text, uuid) IS
    'Notes that a month was written to a file, which flagpost history export does: the month may be dropped then';

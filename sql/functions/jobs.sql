-- Figures about jobs: how often one failed, and how many there are. What operators do to them is in admin_jobs.sql.

-- What went wrong with a job, to be merged into its data: `history`, the last 20 failures, and `history_count`, how many there
-- were. A job that fails for ever must not grow for ever: every claim would carry all of it.
CREATE OR REPLACE FUNCTION one_more_in_history(data jsonb, error text) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT jsonb_build_object(
        'history', jsonb_path_query_array(
            coalesce(data -> 'history', '[]') || jsonb_build_array(jsonb_build_object('at', now(), 'error', error)),
            '$[last - 19 to last]'),
        'history_count', 1 + CASE
            WHEN jsonb_typeof(data -> 'history_count') = 'number' THEN (data ->> 'history_count')::numeric
            WHEN jsonb_typeof(data -> 'history') = 'array' THEN jsonb_array_length(data -> 'history')
            ELSE 0 END)
$$;

-- Live work and history in one row per job type.
CREATE OR REPLACE FUNCTION get_job_queue_stats()
RETURNS TABLE (
    job_type text, pending bigint, active bigint, retrying bigint, completed bigint, failed bigint, cancelled bigint,
    total bigint, awaiting_chain bigint, due bigint, oldest_due timestamptz, average_duration_ms numeric
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT known.job_type,
           count(*) FILTER (WHERE j.status = 'pending'),
           count(*) FILTER (WHERE j.status = 'active'),
           count(*) FILTER (WHERE j.status = 'retrying'),
           count(*) FILTER (WHERE j.status = 'completed'),
           count(*) FILTER (WHERE j.status = 'failed'),
           count(*) FILTER (WHERE j.status = 'cancelled'),
           count(j.id),
           count(*) FILTER (WHERE j.awaiting_chain),
           count(*) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
           min(j.run_at) FILTER (WHERE j.status IN ('pending', 'retrying') AND j.run_at <= now()),
           round(avg((j.data ->> 'duration_ms')::numeric)
                     FILTER (WHERE j.status = 'completed' AND jsonb_typeof(j.data -> 'duration_ms') = 'number'), 1)
    FROM unnest(ARRAY['gas-topup', 'consolidation', 'withdrawal', 'deposit-detection', 'sync'])
         WITH ORDINALITY AS known (job_type, place)
    LEFT JOIN job_logs j ON j.job_type = known.job_type
    GROUP BY known.job_type, known.place
    ORDER BY known.place
$$;

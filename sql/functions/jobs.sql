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

-- Live work and what has ended, in job_logs and job_history, in one row per job type. What has ended is not read: it is counted as it
-- ends (view job_totals).
CREATE OR REPLACE FUNCTION get_job_queue_stats()
RETURNS TABLE (
    job_type text, pending bigint, active bigint, retrying bigint, completed bigint, failed bigint, cancelled bigint,
    total bigint, awaiting_chain bigint, due bigint, oldest_due timestamptz, average_duration_ms numeric
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT known.job_type, coalesce(live.pending, 0), coalesce(live.active, 0), coalesce(live.retrying, 0),
           coalesce(ended.completed, 0)::bigint, coalesce(ended.failed, 0)::bigint, coalesce(ended.cancelled, 0)::bigint,
           (coalesce(live.jobs, 0) + coalesce(ended.jobs, 0))::bigint, coalesce(live.awaiting_chain, 0), coalesce(live.due, 0),
           live.oldest_due, round(ended.duration_ms / nullif(ended.timed, 0), 1)
    FROM unnest(ARRAY['gas-topup', 'consolidation', 'withdrawal', 'deposit-detection', 'sync'])
         WITH ORDINALITY AS known (job_type, place)
    LEFT JOIN (
        SELECT j.job_type, count(*) AS jobs,
               count(*) FILTER (WHERE j.status = 'pending') AS pending,
               count(*) FILTER (WHERE j.status = 'active') AS active,
               count(*) FILTER (WHERE j.status = 'retrying') AS retrying,
               count(*) FILTER (WHERE j.awaiting_chain) AS awaiting_chain,
               count(*) FILTER (WHERE j.status <> 'active' AND j.run_at <= now()) AS due,
               min(j.run_at) FILTER (WHERE j.status <> 'active' AND j.run_at <= now()) AS oldest_due
        FROM job_logs j
        WHERE j.status IN ('pending', 'active', 'retrying') AND j.completed_at IS NULL
        GROUP BY j.job_type
    ) live ON live.job_type = known.job_type
    LEFT JOIN (
        SELECT t.job_type, sum(t.jobs) AS jobs, sum(t.timed) AS timed, sum(t.duration_ms) AS duration_ms,
               sum(t.jobs) FILTER (WHERE t.status = 'completed') AS completed,
               sum(t.jobs) FILTER (WHERE t.status = 'failed') AS failed,
               sum(t.jobs) FILTER (WHERE t.status = 'cancelled') AS cancelled
        FROM job_totals t
        GROUP BY t.job_type
    ) ended ON ended.job_type = known.job_type
    ORDER BY known.place;
END
$$;

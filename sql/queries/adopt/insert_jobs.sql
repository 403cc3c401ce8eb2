-- Every job under its old id. What a value was before it was mapped stands in data->'adopted'.
INSERT INTO job_logs (
    id, job_id, job_type, status, wallet_address, wallet_id, chain_id, user_id, triggered_by, priority, data, error_message,
    retry_count, max_retries, started_at, completed_at, created_at, updated_at
)
SELECT j.id, coalesce(j.row ->> 'job_id', j.id::text), j.job_type, j.status, j.row ->> 'wallet_address', j.wallet_id, j.chain_id,
       (SELECT u.id FROM auth.users u WHERE u.id::text = j.row ->> 'user_id'),
       CASE WHEN j.row ->> 'triggered_by' IN ('system', 'manual', 'deposit', 'schedule', 'event', 'sweep')
            THEN j.row ->> 'triggered_by' ELSE 'manual' END,
       CASE lower(j.row ->> 'priority') WHEN 'low' THEN -10 WHEN 'high' THEN 10 ELSE 0 END,
       CASE jsonb_typeof(j.row -> 'data') WHEN 'object' THEN j.row -> 'data' ELSE '{}' END
           || jsonb_build_object('adopted', jsonb_strip_nulls(jsonb_build_object(
               'status', j.row ->> 'status', 'triggered_by', j.row ->> 'triggered_by', 'user_id', j.row ->> 'user_id',
               'data', CASE WHEN jsonb_typeof(j.row -> 'data') <> 'object' THEN j.row -> 'data' END,
               'frozen', j.frozen))),
       CASE WHEN j.is_unknown
            THEN 'state unknown: it was ' || coalesce(j.row ->> 'status', 'without a status') || ' when this database was adopted;'
                 || ' see on the chain whether it paid, then release the wallet'
            ELSE j.row ->> 'error_message' END,
       CASE WHEN j.row ->> 'retry_count' ~ '^[0-9]{1,9}$' THEN (j.row ->> 'retry_count')::integer ELSE 0 END,
       CASE WHEN j.row ->> 'max_retries' ~ '^[0-9]{1,9}$' THEN (j.row ->> 'max_retries')::integer ELSE 3 END,
       (j.row ->> 'started_at')::timestamptz,
       CASE WHEN j.status <> 'pending' THEN coalesce(
           (j.row ->> 'completed_at')::timestamptz, CASE WHEN j.is_unknown THEN now() END, (j.row ->> 'updated_at')::timestamptz,
           (j.row ->> 'created_at')::timestamptz, now()) END,
       coalesce((j.row ->> 'created_at')::timestamptz, now()),
       coalesce((j.row ->> 'updated_at')::timestamptz, (j.row ->> 'created_at')::timestamptz, now())
FROM adopting_jobs j
WHERE j.is_known
ORDER BY j.row ->> 'created_at', j.id;

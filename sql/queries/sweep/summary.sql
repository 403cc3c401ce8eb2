-- Writes the queue summary job of one cycle and returns its data: what lives in the queue, what ended within the hour,
-- what the flags call for, and what this cycle did (%(cycle)s).
--
-- Everything here reads partial indexes or the last hour: no count over history.
WITH live AS (
    SELECT j.job_type, j.status, count(*) AS jobs, count(*) FILTER (WHERE j.awaiting_chain) AS awaiting_chain,
           min(j.run_at) FILTER (WHERE j.status IN ('pending', 'retrying')) AS oldest
    FROM job_logs j WHERE j.completed_at IS NULL GROUP BY j.job_type, j.status
), ended AS (
    SELECT j.job_type, j.status, count(*) AS jobs FROM job_logs j
    WHERE j.created_at BETWEEN now() - interval '1 hour' AND now() AND j.status IN ('completed', 'failed', 'cancelled')
      AND NOT j.data ? 'queue_summary'
    GROUP BY j.job_type, j.status
), flags AS (
    SELECT w.wanted_job, count(*) AS wallets FROM wallets w WHERE w.wanted_job IS NOT NULL GROUP BY w.wanted_job
), numbered AS (
    SELECT nextval('job_logs_seq') AS seq
)
INSERT INTO job_logs (seq, job_id, job_type, status, triggered_by, started_at, completed_at, data)
SELECT n.seq, 'queue-summary-' || n.seq, 'sync', 'completed', 'schedule', %(started_at)s, clock_timestamp(),
       jsonb_build_object(
           'queue_summary', 'true',
           'live', coalesce((SELECT jsonb_object_agg(t.job_type, t.counts) FROM (
               SELECT job_type, jsonb_object_agg(status, jobs) AS counts FROM live GROUP BY job_type) t), '{}'),
           'awaiting_chain', coalesce((SELECT sum(awaiting_chain) FROM live), 0),
           'oldest_waiting_at', (SELECT min(oldest) FROM live),
           'ended_last_hour', coalesce((SELECT jsonb_object_agg(t.job_type, t.counts) FROM (
               SELECT job_type, jsonb_object_agg(status, jobs) AS counts FROM ended GROUP BY job_type) t), '{}'),
           'flagged', coalesce((SELECT jsonb_object_agg(wanted_job, wallets) FROM flags), '{}')
       ) || %(cycle)s
FROM numbered n
RETURNING data

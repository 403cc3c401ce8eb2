-- Live jobs by type, those that failed in the last hour, and since when the oldest due one waits. At most 10,000 of each are counted;
-- those that run are what workers said at their last heartbeats.
SELECT k.type AS job_type,
       (SELECT count(*) FROM (SELECT FROM job_logs j WHERE j.job_type = k.type AND j.queued AND NOT j.awaiting_chain
                              AND j.status IN ('pending', 'retrying') LIMIT 10000) w) AS waiting,
       (SELECT coalesce(sum(stat_number(w.stats, 'held')), 0)::bigint FROM worker_registry w
        WHERE w.type = k.type AND has_process(w)) AS running,
       (SELECT count(*) FROM (SELECT FROM job_logs j WHERE j.job_type = k.type AND j.failed_at > now() - interval '1 hour'
                              LIMIT 10000) f) AS failed,
       d.due, clock_timestamp() - d.since AS oldest
FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
JOIN due_work() d ON d.type = k.type
ORDER BY k.type

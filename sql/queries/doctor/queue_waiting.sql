-- Jobs that were put off again and again for an hour: their work stands still until somebody does what they wait for. One reason of
-- each type and chain. At most 10,000 are read.
SELECT w.job_type, c.name AS chain, count(*) AS jobs, now() - min(w.created_at) AS since,
       (array_agg(w.error_message ORDER BY w.updated_at DESC))[1] AS reason, (array_agg(w.id ORDER BY w.created_at))[:100] AS ids
FROM (
    SELECT j.id, j.job_type, j.chain_id, j.created_at, j.updated_at, j.error_message
    FROM job_logs j
    WHERE j.queued AND NOT j.awaiting_chain AND j.status = 'pending' AND j.error_message IS NOT NULL
      AND j.created_at < now() - interval '1 hour'
      AND j.run_at > now() - interval '5 minutes' AND j.run_at < now() + interval '1 day'
    LIMIT 10000
) w
JOIN chains c ON c.id = w.chain_id AND c.is_active
GROUP BY w.job_type, c.name
ORDER BY w.job_type, c.name

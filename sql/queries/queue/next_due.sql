-- Seconds until the next waiting job of a type is due: 0 or less if one is due now, NULL if none waits.
--
-- What fell due longer than 10 s ago and still waits is left out: it is locked by somebody's open transaction, or it fell due after
-- the last claim that read all waiting jobs (pipeline/queue/schedule.py: the next one is within 10 s). Thereby the entries of jobs
-- that run or have ended, which stay in the index, are not walked over.
--
-- One probe of job_logs_claim per priority, because the index is ordered by priority before run_at.
SELECT extract(epoch FROM min(due.run_at) - clock_timestamp())::double precision AS seconds
FROM generate_series(-10, 10) AS level (priority)
CROSS JOIN LATERAL (
    SELECT j.run_at FROM job_logs j
    WHERE j.job_type = %(job_type)s AND j.queued AND NOT j.awaiting_chain
      AND j.status IN ('pending', 'retrying') AND j.priority = level.priority
      AND j.run_at > now() - interval '10 seconds'
      AND j.chain_id = ANY (ARRAY(
          SELECT id FROM chains
          WHERE is_active AND (%(chain_ids)s::integer[] IS NULL OR id = ANY (%(chain_ids)s::integer[]))))
    ORDER BY j.run_at
    LIMIT 1
) AS due

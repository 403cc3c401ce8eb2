-- Writes the outcomes of a batch of attempts. Returns the jobs that were still ours.
--
-- Guarantees: an attempt whose lease was taken away (rescued, cancelled, claimed again) or that has been
-- handed over to the confirmation worker changes nothing. A flag that was served falls only if no balance
-- of its wallet changed while the job ran; all wallets of the batch at once, in one order (clear_served_flags).
--
-- The CASE hides the partial index of active jobs: with it the plan becomes every outcome against every active job.
--
-- The arrays run in parallel, one element an attempt: status is the status to take, delay_seconds the wait
-- before the next attempt (NULL: run_at stays), failed_attempts 1 if this attempt used one up. Those from statuses on
-- may be shorter: what they lack is completed and has nothing to add.
WITH finished AS (
    UPDATE job_logs j SET
        status = coalesce(o.status, 'completed'),
        retry_count = j.retry_count + coalesce(o.failed_attempts, 0),
        run_at = CASE WHEN o.delay_seconds IS NULL THEN j.run_at ELSE now() + make_interval(secs => o.delay_seconds) END,
        completed_at = CASE WHEN coalesce(o.status, 'completed') IN ('completed', 'failed') THEN now() END,
        queued = j.queued AND coalesce(o.status, 'completed') NOT IN ('completed', 'failed'),
        error_message = o.error,
        leased_by = NULL,
        lease_deadline = NULL,
        updated_at = now(),
        data = CASE
            WHEN o.status IS NULL THEN j.data
            WHEN o.failed_attempts = 1 THEN j.data || o.data || one_more_in_history(j.data, o.error)
            ELSE j.data || o.data
        END || jsonb_build_object('duration_ms', round(extract(epoch FROM now() - j.started_at) * 1000, 3))
    FROM unnest(
        %(ids)s::uuid[], %(leases)s::bigint[], %(clear_flags)s::boolean[], %(statuses)s::text[], %(errors)s::text[],
        %(delays)s::double precision[], %(failed_attempts)s::integer[], %(data)s::jsonb[]
    ) AS o (id, lease, clear_flag, status, error, delay_seconds, failed_attempts, data)
    WHERE j.id = o.id
      AND j.lease = o.lease AND CASE j.status WHEN 'active' THEN NOT j.awaiting_chain ELSE false END
    RETURNING j.id, j.job_type, j.wallet_id, j.started_at, o.clear_flag
), served AS (
    SELECT array_agg(f.wallet_id) AS wallet_ids, array_agg(f.job_type) AS job_types, array_agg(f.started_at) AS started_ats
    FROM finished f WHERE f.clear_flag
)
SELECT f.id
FROM finished f
-- Asked once, and before the first row: joined, it would be asked for every row.
WHERE (SELECT count(*) FROM served s
       CROSS JOIN LATERAL clear_served_flags(s.wallet_ids, s.job_types, s.started_ats)) IS NOT NULL

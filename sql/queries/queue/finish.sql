-- Writes the outcomes of a batch of attempts. Returns the jobs that were still ours.
--
-- Guarantees: an attempt whose lease was taken away (rescued, cancelled, claimed again) or that has been
-- handed over to the confirmation worker changes nothing. A flag that was served falls only if no balance
-- of its wallet changed while the job ran; all wallets of the batch at once, in one order (clear_served_flags).
--
-- The CASE hides the partial index of active jobs: with it the plan becomes every outcome against every active job.
--
-- The arrays run in parallel, one element an attempt: status is the status to take, delay_seconds the wait
-- before the next attempt (NULL: run_at stays), failed_attempts 1 if this attempt used one up.
WITH outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(leases)s::bigint[], %(statuses)s::text[], %(errors)s::text[],
        %(delays)s::double precision[], %(failed_attempts)s::integer[], %(data)s::jsonb[], %(clear_flags)s::boolean[]
    ) AS o (id, lease, status, error, delay_seconds, failed_attempts, data, clear_flag)
), finished AS (
    UPDATE job_logs j SET
        status = o.status,
        retry_count = j.retry_count + o.failed_attempts,
        run_at = coalesce(now() + make_interval(secs => o.delay_seconds), j.run_at),
        completed_at = CASE WHEN o.status IN ('completed', 'failed') THEN now() END,
        error_message = o.error,
        leased_by = NULL,
        lease_deadline = NULL,
        updated_at = now(),
        data = j.data || o.data
            || jsonb_build_object('duration_ms', round(extract(epoch FROM now() - j.started_at) * 1000, 3))
            || CASE WHEN o.failed_attempts = 0 THEN '{}' ELSE one_more_in_history(j.data, o.error) END
    FROM outcome o
    WHERE j.id = o.id
      AND j.lease = o.lease AND CASE j.status WHEN 'active' THEN NOT j.awaiting_chain ELSE false END
    RETURNING j.id, j.job_type, j.wallet_id, j.started_at, o.clear_flag
)
SELECT f.id, coalesce(c.cleared, false) AS flag_cleared
FROM finished f
LEFT JOIN clear_served_flags(
    (SELECT array_agg(s.wallet_id ORDER BY s.id) FROM finished s WHERE s.clear_flag),
    (SELECT array_agg(s.job_type ORDER BY s.id) FROM finished s WHERE s.clear_flag),
    (SELECT array_agg(s.started_at ORDER BY s.id) FROM finished s WHERE s.clear_flag)
) c ON c.wallet_id = f.wallet_id AND c.job_type = f.job_type

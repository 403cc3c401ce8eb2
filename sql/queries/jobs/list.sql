-- Jobs in job_logs and job_history, newest first, for `flagpost jobs list`. NULL means "any".
-- Parameters: job_type, status, triggered_by, wallet (address), since (timestamptz), limit; before_created and before_seq: those of the
-- last job of the page before.
SELECT j.id, j.job_id, j.job_type, j.status, j.awaiting_chain, j.wallet_address, c.name AS chain, j.triggered_by,
       j.priority, j.retry_count, j.max_retries, j.run_at, j.error_message, j.data, j.created_at, j.started_at,
       j.completed_at, j.in_history
FROM (
    SELECT a.* FROM all_jobs a
    WHERE (%(job_type)s::text IS NULL OR a.job_type = %(job_type)s::text)
      AND (%(status)s::text IS NULL OR a.status = %(status)s::text)
      AND (%(triggered_by)s::text IS NULL OR a.triggered_by = %(triggered_by)s::text)
      AND (%(wallet)s::text IS NULL OR a.wallet_address = %(wallet)s::text)
      AND (%(since)s::timestamptz IS NULL OR a.created_at >= %(since)s::timestamptz)
      AND (%(before_created)s::timestamptz IS NULL
           OR (a.created_at <= %(before_created)s::timestamptz
               AND (a.created_at, a.seq) < (%(before_created)s::timestamptz, %(before_seq)s::bigint)))
      AND (%(summaries)s::boolean OR a.data ->> 'queue_summary' IS DISTINCT FROM 'true')
    ORDER BY a.created_at DESC, a.seq DESC
    LIMIT %(limit)s
) j
LEFT JOIN chains c ON c.id = j.chain_id
ORDER BY j.created_at DESC, j.seq DESC;

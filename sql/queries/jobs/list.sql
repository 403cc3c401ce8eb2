-- Jobs, newest first, for `flagpost jobs list`. NULL means "any".
-- Parameters: job_type, status, triggered_by, wallet (address), since (timestamptz), limit.
SELECT j.id, j.job_id, j.job_type, j.status, j.awaiting_chain, j.wallet_address, c.name AS chain, j.triggered_by,
       j.priority, j.retry_count, j.max_retries, j.run_at, j.error_message, j.data, j.created_at, j.started_at,
       j.completed_at
FROM job_logs j
LEFT JOIN chains c ON c.id = j.chain_id
WHERE (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s::text)
  AND (%(status)s::text IS NULL OR j.status = %(status)s::text)
  AND (%(triggered_by)s::text IS NULL OR j.triggered_by = %(triggered_by)s::text)
  AND (%(wallet)s::text IS NULL OR j.wallet_address = %(wallet)s::text)
  AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s::timestamptz)
  AND (%(summaries)s::boolean OR j.data ->> 'queue_summary' IS DISTINCT FROM 'true')
ORDER BY j.created_at DESC, j.seq DESC
LIMIT %(limit)s;

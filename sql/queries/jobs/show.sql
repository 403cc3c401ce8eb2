-- One job, in job_logs or job_history, by its job_id or its id (a uuid as text); a job_id wins should both match.
SELECT j.id, j.job_id, j.job_type, j.status, j.awaiting_chain, j.wallet_address, c.name AS chain, j.user_id,
       j.triggered_by, j.priority, j.retry_count, j.max_retries, j.run_at, j.lease, j.leased_by, j.lease_deadline,
       j.error_message, j.data, j.created_at, j.started_at, j.completed_at, j.updated_at,
       j.in_history
FROM all_jobs j
LEFT JOIN chains c ON c.id = j.chain_id
WHERE j.job_id = %(job)s OR j.id = job_uuid(%(job)s)
ORDER BY (j.job_id = %(job)s) DESC
LIMIT 1;

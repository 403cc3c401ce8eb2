-- Every job: those of job_logs, and those that have moved to job_history since. For people who read; to change a job, say job_logs.
--
-- Guarantees: a job is in it once; `in_history` says where it is.
CREATE OR REPLACE VIEW all_jobs WITH (security_invoker = true) AS
SELECT j.id, j.seq, j.job_id, j.job_type, j.status, j.wallet_address, j.wallet_id, j.chain_id, j.user_id, j.triggered_by, j.priority,
       j.data, j.error_message, j.retry_count, j.max_retries, j.run_at, j.lease, j.leased_by, j.lease_deadline, j.awaiting_chain,
       j.started_at, j.completed_at, j.created_at, j.updated_at, false AS in_history
FROM job_logs j
UNION ALL
SELECT h.id, h.seq, h.job_id, h.job_type, h.status, h.wallet_address, h.wallet_id, h.chain_id, h.user_id, h.triggered_by, h.priority,
       h.data, h.error_message, h.retry_count, h.max_retries, h.run_at, h.lease, NULL, NULL, false,
       h.started_at, h.completed_at, h.created_at, h.updated_at, true
FROM job_history h;

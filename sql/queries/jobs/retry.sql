-- A failed job runs again, at once. No row: it is not failed (any more).
-- A wallet that has a live job of that type already makes this fail with job_logs_one_live_job_per_wallet_and_type.
UPDATE job_logs
SET status = 'pending', run_at = now(), completed_at = NULL, error_message = NULL,
    retry_count = CASE WHEN %(reset)s THEN 0 ELSE retry_count END,
    max_retries = CASE WHEN %(reset)s THEN max_retries ELSE greatest(max_retries, retry_count + 1) END
WHERE id = %(id)s AND status = 'failed'
RETURNING job_id, retry_count, max_retries;

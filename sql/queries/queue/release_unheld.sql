-- After a lost connection: gives back jobs that this worker claimed without ever hearing of it, because the reply
-- to the claim was lost. Without this they would stay active until their deadline, under a worker that lives.
--
-- Guarantees: what the worker does hold (ids) and what waits for the chain is not touched.
UPDATE job_logs SET status = 'pending', leased_by = NULL, lease_deadline = NULL
WHERE completed_at IS NULL AND status = 'active' AND NOT awaiting_chain AND leased_by = %(worker_id)s AND id <> ALL (%(held)s::uuid[])
RETURNING id

-- An attempt that the chain proved dead. Its payment may be signed anew, and its job goes back to the queue at
-- once, without using up a retry: nobody did anything wrong and nothing was spent.
-- No row: it is not 'broadcasting' any more, and the proof is void.
WITH attempt AS (
    UPDATE chain_transactions
       SET state = 'expired'
     WHERE id = %(attempt_id)s AND state = 'broadcasting'
    RETURNING transfer_id
), transfer AS (
    UPDATE transfers t
       SET state = 'expired', error_message = %(reason)s
      FROM attempt
     WHERE t.id = attempt.transfer_id AND t.state = 'broadcasting'
    RETURNING t.id, t.job_id
), job AS (
    UPDATE job_logs j
       SET status = 'retrying', awaiting_chain = false, run_at = clock_timestamp(), error_message = %(reason)s,
           data = jsonb_set(j.data, '{history}', coalesce(j.data -> 'history', '[]'::jsonb)
                || jsonb_build_object('at', clock_timestamp(), 'error', %(reason)s::text))
      FROM transfer
     WHERE j.id = transfer.job_id AND j.status = 'active' AND j.awaiting_chain
    RETURNING j.id
)
SELECT id, EXISTS (SELECT FROM job) AS job_released FROM transfer;

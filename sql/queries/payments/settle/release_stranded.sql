-- Jobs that wait for the chain though nothing of theirs is out. The protocol leaves none behind; a row edited by hand can.
-- They go back to the queue, where their payments are read again.
UPDATE job_logs
   SET status = 'retrying', awaiting_chain = false, run_at = clock_timestamp(),
       error_message = 'was waiting for the chain with no payment out'
 WHERE id = ANY (ARRAY(
        SELECT j.id FROM job_logs j
         WHERE j.chain_id = %(chain_id)s AND j.completed_at IS NULL AND j.status = 'active' AND j.awaiting_chain
           AND NOT EXISTS (SELECT FROM transfers t
                            WHERE t.job_id = j.id AND t.state IN ('broadcasting', 'included'))
           FOR UPDATE SKIP LOCKED))
   AND awaiting_chain
   AND NOT EXISTS (SELECT FROM transfers t WHERE t.job_id = job_logs.id AND t.state IN ('broadcasting', 'included'))
RETURNING id;

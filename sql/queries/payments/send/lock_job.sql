-- Opens every step of an attempt: the job's row, locked, if the attempt still holds it. No row: the
-- lease was lost (rescued, cancelled, handed over), and the step must not happen.
SELECT id
  FROM job_logs
 WHERE id = %(job_uuid)s AND lease = %(lease)s AND status = 'active' AND NOT awaiting_chain
   FOR UPDATE;

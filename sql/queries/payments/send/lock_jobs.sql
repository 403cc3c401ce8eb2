-- Opens a step of several attempts: the jobs' rows, locked in one order by everybody. An attempt whose lease is not there, or whose
-- job is not held any more, was lost (rescued, cancelled, handed over), and its step must not happen.
SELECT id, CASE WHEN status = 'active' AND NOT awaiting_chain THEN lease END AS lease
  FROM job_logs
 WHERE id = ANY (%(job_ids)s::uuid[])
 ORDER BY id
   FOR UPDATE;

-- The runbooks' own functions whose names are ours from now on: moved aside, because one with another result cannot be replaced.
SELECT p.oid::regprocedure::text AS signature
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
  AND p.proname IN ('get_job_queue_stats', 'retry_failed_jobs', 'cleanup_stuck_jobs')
ORDER BY 1;

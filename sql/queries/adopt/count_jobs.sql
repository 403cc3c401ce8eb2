-- Counts the jobs that came in while triggers did not fire (sql/functions/job_counts.sql).
SELECT recount_jobs();

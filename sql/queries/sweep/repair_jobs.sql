-- Finds and does what triggers did not for waiting jobs (sql/functions/repairs.sql).
SELECT jobs_completed, jobs_refused, syncs_made_due FROM repair_jobs(%(jobs)s)

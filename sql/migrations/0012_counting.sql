-- Inserts and updates of jobs are followed by one trigger each, which counts as well; a job that had ended and is written again is
-- taken out of the counts by a trigger on its row. Guarantees: nothing new, and none of the old ones goes.

DROP TRIGGER IF EXISTS jobs_due_insert ON job_logs;
DROP TRIGGER IF EXISTS jobs_updated ON job_logs;
DROP TRIGGER IF EXISTS job_counts_insert ON job_logs;
DROP TRIGGER IF EXISTS job_counts_update ON job_logs;
DROP TRIGGER IF EXISTS job_counts_delete ON job_logs;
DROP FUNCTION IF EXISTS notify_jobs(), follow_updated_jobs(), count_ended_jobs();

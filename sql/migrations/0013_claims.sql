-- Claims are read from the index of what waits, whatever the statistics say.
--
-- The condition of that index says nothing of the end of a job: a claim that did could be read from the indexes of all live jobs as
-- well, and would be wherever statistics of an empty queue call all of them equally cheap, over every job that ran since the last
-- vacuum. Instead what has ended is not queued (triggers/job_rows.sql, which is made anew after this).
--
-- Guarantees: as before, every job that waits is queued (CHECK), and a claim takes nothing that does not wait. Rewrites the table,
-- which fires no trigger: those refuse changes to jobs that have ended.

DROP TRIGGER IF EXISTS job_rows_insert ON job_logs;
DROP TRIGGER IF EXISTS job_rows_update ON job_logs;
DROP INDEX job_logs_claim;
ALTER TABLE job_logs ALTER COLUMN queued TYPE boolean USING queued AND completed_at IS NULL;
-- In the order in which they are claimed; those that run are left out by their rows.
CREATE INDEX job_logs_claim ON job_logs (job_type, priority DESC, run_at, seq) WHERE queued AND NOT awaiting_chain;

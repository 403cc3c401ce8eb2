-- Moves those of the next jobs behind an id to job_history that ended long enough ago (sql/functions/job_history.sql). up_to is the id
-- to go on behind, NULL at the end.
SELECT up_to, moved FROM move_finished_jobs(%(after)s, %(jobs)s, %(finished)s, %(failed)s, %(now)s)

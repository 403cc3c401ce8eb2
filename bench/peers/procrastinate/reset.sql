-- Empties jobs and their events.
TRUNCATE procrastinate_jobs, procrastinate_events CASCADE;
VACUUM (ANALYZE) procrastinate_jobs;
VACUUM (ANALYZE) procrastinate_events;

-- Empties the queue.
TRUNCATE pgboss.job;
VACUUM (ANALYZE) pgboss.job;

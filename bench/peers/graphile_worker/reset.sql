-- Empties the queue.
TRUNCATE graphile_worker._private_jobs;
VACUUM (ANALYZE) graphile_worker._private_jobs;

-- Empties queue, log and statistics.
TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics;
VACUUM (ANALYZE) pgqueuer;
VACUUM (ANALYZE) pgqueuer_log;

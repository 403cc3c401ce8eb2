-- Wait for the other migrator of this database. The number is arbitrary, and the same as in try_lock.
SELECT pg_advisory_xact_lock(7092113040558);

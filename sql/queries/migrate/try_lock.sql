-- Whether this database has no other migrator at the moment; if so, we are it until the transaction ends.
SELECT pg_try_advisory_xact_lock(7092113040558);

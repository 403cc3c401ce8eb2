-- Whether the project's database is there: one row if so.
SELECT 1 FROM pg_database WHERE datname = 'flagpost';

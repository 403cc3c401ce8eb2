-- What the writers of bench/measures/busy.py write: a row each, so that they wait for the disk and not for each other.
CREATE TABLE IF NOT EXISTS bench_writers (id integer PRIMARY KEY, commits bigint NOT NULL) WITH (fillfactor = 20);
INSERT INTO bench_writers SELECT n, 0 FROM generate_series(0, 31) AS n ON CONFLICT DO NOTHING

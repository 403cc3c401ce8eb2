-- How many there were.
SELECT sum(commits)::bigint FROM bench_writers

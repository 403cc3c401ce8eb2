-- Sets back what lies ahead of the clock that wrote it (sql/functions/repair_times.sql); how many rows of each kind.
SELECT flags, jobs, leases, workers, attempts FROM repair_times(%(rows)s)

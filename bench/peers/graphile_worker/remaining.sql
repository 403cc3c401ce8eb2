-- Whether anything waits or runs: a job that is done leaves the table.
SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)

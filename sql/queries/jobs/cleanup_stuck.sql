-- Takes jobs that have been stuck for so many minutes from dead or silent workers: how many.
SELECT cleanup_stuck_jobs(%(minutes)s, %(admin)s) AS rescued;

-- What operators run by hand, on a timer.
SELECT cleanup_stuck_jobs(%(minutes)s)

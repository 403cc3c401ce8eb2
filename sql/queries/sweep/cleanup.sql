-- Rescues what has been stuck for so many minutes; how many jobs that were. cleanup_stuck_jobs does the same for a person, and writes
-- admin_actions for it.
SELECT count(*)::integer FROM rescue_jobs(interval '60 seconds', make_interval(mins => %(minutes)s))

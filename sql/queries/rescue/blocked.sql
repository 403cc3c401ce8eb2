-- Sessions of ours that have waited for a lock for long, and for whom.
SELECT pid, application_name, waiting_since, blocker, blocker_user, blocker_application, blocker_since
FROM blocked_sessions(make_interval(secs => %(longer_than_seconds)s))

-- Sessions of ours that have waited for a lock for long, and for whom.
SELECT pid, application_name AS application, clock_timestamp() - waiting_since AS waited, blocker, blocker_user,
       blocker_application
FROM blocked_sessions(make_interval(secs => %(longer_than_seconds)s));

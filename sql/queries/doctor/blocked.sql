-- Sessions of ours that wait for a lock for over 5 s, and for whom.
SELECT pid, application_name AS application, clock_timestamp() - waiting_since AS waited, blocker, blocker_user,
       blocker_application
FROM blocked_sessions('5 seconds');

-- How full the notification queue is, whether NOTIFY is suppressed for it, and which sessions may hold it, the likeliest first.
SELECT used.share, notify_is_suppressed(used.share) AS suppressed, s.pid, s.usename, s.datname, s.application_name, s.since
FROM pg_notification_queue_usage() AS used (share) LEFT JOIN notification_queue_suspects() s ON true;

-- The share of the notification queue that is used. Asking frees what nobody needs any more.
SELECT pg_notification_queue_usage();

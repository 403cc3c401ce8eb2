-- Sessions that may keep the notification queue from being freed, the likeliest first.
SELECT pid, usename, datname, application_name, since FROM notification_queue_suspects();

-- The channels this session listens on, and the share of the notification queue that is used: proves in one round trip that the
-- session is alive and still listening. Asking for the share frees what nobody needs any more.
SELECT coalesce(array_agg(channel) FILTER (WHERE channel IS NOT NULL), '{}'), max(used.share)
FROM (SELECT pg_notification_queue_usage() AS share) AS used LEFT JOIN pg_listening_channels() AS channel ON true;

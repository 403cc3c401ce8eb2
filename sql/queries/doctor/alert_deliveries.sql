-- Messages of alerts that were tried for 15 minutes and did not arrive, or that were given up within a day, by channel.
SELECT d.channel, count(*) AS messages, now() - min(d.created_at) AS since,
       coalesce((array_agg(d.last_error ORDER BY d.id DESC) FILTER (WHERE d.last_error IS NOT NULL))[1], 'nothing') AS error,
       (array_agg(d.id ORDER BY d.id))[:100] AS ids
FROM alert_deliveries d
WHERE (d.state = 'pending' AND d.first_attempt_at < now() - interval '15 minutes')
   OR (d.state = 'failed' AND d.ended_at > now() - interval '1 day')
GROUP BY d.channel
ORDER BY d.channel

-- What was sent of one alert, and what waits.
SELECT d.id, d.channel, d.event, d.state, d.attempts, d.next_attempt_at, d.last_error, d.created_at, d.ended_at
FROM alert_deliveries d
WHERE d.alert_id = %(alert)s
ORDER BY d.id

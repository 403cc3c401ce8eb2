-- Raises, reminds of and resolves the alerts of one rule after what an evaluation of it found; what was done.
SELECT event, alert_id, subject, severity, summary, action
FROM record_alerts(%(rule)s, %(found)s, %(channels)s, make_interval(secs => %(lasting_seconds)s), make_interval(secs => %(remind_seconds)s))

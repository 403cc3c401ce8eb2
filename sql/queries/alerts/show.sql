-- One alert.
SELECT a.id, a.rule, a.subject, a.severity, a.summary, a.action, a.value, a.raised_at, a.last_seen_at, a.resolved_at, a.acknowledged_at,
       a.acknowledged_by, a.count, a.resolved_at IS NULL AND alert_is_silenced(a.rule, a.subject) AS silenced
FROM alerts a
WHERE a.id = job_uuid(%(alert)s) AND a.raised_at IS NOT NULL

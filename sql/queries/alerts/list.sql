-- Alerts that were raised, the open ones first, then the newest; without %(resolved)s only those that are open.
SELECT a.id, a.rule, a.subject, a.severity, a.summary, a.action, a.value, a.raised_at, a.last_seen_at, a.resolved_at, a.acknowledged_at,
       a.acknowledged_by, a.count, a.resolved_at IS NULL AND alert_is_silenced(a.rule, a.subject) AS silenced
FROM alerts a
WHERE a.raised_at IS NOT NULL AND (%(resolved)s OR a.resolved_at IS NULL)
ORDER BY a.resolved_at IS NOT NULL, (a.resolved_at IS NULL AND a.severity = 'critical') DESC, a.raised_at DESC
LIMIT %(limit)s

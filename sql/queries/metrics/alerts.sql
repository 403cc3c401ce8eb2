-- Alerts that stand, by rule and severity.
SELECT a.rule, a.severity, count(*) AS value_alerts
FROM alerts a
WHERE a.resolved_at IS NULL AND a.raised_at IS NOT NULL
GROUP BY a.rule, a.severity

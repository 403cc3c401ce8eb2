-- How many alerts are open, by severity.
SELECT count(*) FILTER (WHERE a.severity = 'critical') AS critical, count(*) FILTER (WHERE a.severity = 'warning') AS warning
FROM alerts a
WHERE a.resolved_at IS NULL AND a.raised_at IS NOT NULL

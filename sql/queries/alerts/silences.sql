-- Silences in force, the one that ends first before the others.
SELECT s.id, s.rule, s.subject, s.until, s.reason, s.silenced_by, s.created_at
FROM alert_silences s
WHERE s.ended_at IS NULL AND s.until > now()
ORDER BY s.until, s.id

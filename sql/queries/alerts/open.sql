-- What is open and critical, the oldest first: how many, and what the first %(most)s say.
SELECT count(*) AS alerts, coalesce((array_agg(a.summary ORDER BY a.raised_at, a.id))[:%(most)s], '{}') AS summaries
FROM alerts a
WHERE a.resolved_at IS NULL AND a.raised_at IS NOT NULL AND a.severity = 'critical'

-- Marks workers that died or whose heartbeat stopped; their names.
SELECT * FROM mark_silent_workers(make_interval(secs => %(stale_seconds)s))

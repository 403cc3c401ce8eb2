-- Workers by type and health.
SELECT h.type, h.health, count(*) AS value_workers FROM worker_health() h GROUP BY h.type, h.health

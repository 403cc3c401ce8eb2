-- The months of job_history between two (both included), as one snapshot sees them: their versions and how many jobs they have.
SELECT m.month, m.version, coalesce((SELECT sum(t.jobs) FROM job_totals t WHERE t.month = m.month), 0)::bigint AS jobs
FROM job_history_months m
WHERE m.month BETWEEN %(first)s AND %(last)s
ORDER BY m.month

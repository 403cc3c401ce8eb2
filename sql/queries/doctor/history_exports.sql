-- Months that would have left job_history, and wait for their export.
SELECT to_char(h.month, 'YYYY-MM') AS month, h.jobs, h.leaves_on::text AS leaves_on,
       CASE WHEN h.exported_at IS NULL THEN 'was not exported' ELSE 'has changed since it was exported' END AS why
FROM history_months() h
WHERE h.waits_for_export
ORDER BY h.month

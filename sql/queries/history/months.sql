-- The months of job_history, oldest first: jobs, size, export, and when each leaves (NULL: never).
SELECT month, jobs, failed, bytes, is_exported, exported_at, exported_to, leaves_on, waits_for_export FROM history_months() ORDER BY month

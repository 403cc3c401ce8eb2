-- Months of job_history without their partition, and this month where others were made: jobs that ended in them cannot move.
SELECT to_char(wanted.month, 'YYYY-MM') AS month
FROM (
    SELECT m.month FROM job_history_months m
    UNION
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date WHERE EXISTS (SELECT FROM job_history_months)
) wanted
WHERE NOT EXISTS (
    SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.job_history'::regclass AND c.relname = 'jobs_' || to_char(wanted.month, 'YYYY_MM'))
ORDER BY 1

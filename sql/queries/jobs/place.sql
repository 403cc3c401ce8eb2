-- Where a job stands in lists, for the page behind it; by its job_id or its id.
SELECT j.created_at, j.seq
FROM all_jobs j
WHERE j.job_id = %(job)s OR j.id = job_uuid(%(job)s)
ORDER BY (j.job_id = %(job)s) DESC
LIMIT 1;

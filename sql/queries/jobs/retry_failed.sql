-- Jobs of a type (NULL: of every type) that failed in the last hours run again: how many.
SELECT retry_failed_jobs(%(job_type)s, %(hours)s, %(admin)s) AS retried;

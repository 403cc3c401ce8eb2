-- Takes jobs from workers that are dead, silent, stopped or unknown, and attempts that ran past their deadline.
SELECT job_id, job_type, wallet_address, status, reason
FROM rescue_jobs(make_interval(secs => %(stale_seconds)s), make_interval(secs => %(older_seconds)s))

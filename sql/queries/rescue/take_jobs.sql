-- Takes jobs from workers that are dead, silent, stopped or unknown, and attempts that ran past their deadline. Of those that
-- entered by the transaction %(entered_since)s or later, at most %(at_most)s are read (NULL: all).
SELECT job_id, job_type, wallet_address, status, reason
FROM rescue_jobs(make_interval(secs => %(stale_seconds)s), make_interval(secs => %(older_seconds)s),
                 %(entered_since)s::xid8, %(at_most)s::integer)

-- A failed job runs again, at once; the function refuses one that is not failed, or whose wallet has a live job of its type.
SELECT job_id, retry_count, max_retries FROM retry_job(%(job)s, %(reset)s, %(admin)s);

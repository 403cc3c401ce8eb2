-- Cancels a job; the function refuses one whose transaction may still land, and says so. False: it was cancelled before.
SELECT cancel_job(%(job_id)s) AS cancelled;

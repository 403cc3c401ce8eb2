-- Cancels a job; the function refuses one whose transaction may still land, and says so. False: it was cancelled before.
SELECT cancel_job(%(job)s, %(admin)s) AS cancelled,
       (SELECT j.job_id FROM job_logs j WHERE j.job_id = %(job)s OR j.id = job_uuid(%(job)s)
        ORDER BY (j.job_id = %(job)s) DESC LIMIT 1) AS job_id;

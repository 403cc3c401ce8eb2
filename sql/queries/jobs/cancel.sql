-- Cancels a job; the function refuses one whose transaction may still land, and says so.
SELECT cancel_job(%(job_id)s) AS outcome;

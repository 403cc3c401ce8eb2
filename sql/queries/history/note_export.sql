-- Notes that a month was written to a file; whether it is in job_history now as it is there.
SELECT note_history_export(%(month)s, %(version)s, %(rows)s, %(file)s, %(admin)s) AS is_current

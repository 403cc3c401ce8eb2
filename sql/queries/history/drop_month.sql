-- Drops a month of job_history whose time has come; false: it has not, or the month waits for its export.
SELECT drop_history_month(%(month)s, %(now)s)

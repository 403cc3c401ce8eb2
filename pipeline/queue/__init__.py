"""The queue on job_logs: enqueue, claim, lease, finish, retry. Knows no chain."""

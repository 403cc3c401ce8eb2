-- Gives the leadership up, so that another worker need not wait for its lease to end.
SELECT stop_leading(%(name)s, %(worker_id)s);

-- Takes the leadership under this name, or renews it: the number of the lease, NULL where another worker leads.
SELECT lead(%(name)s, %(worker_id)s, make_interval(secs => %(length_seconds)s));

-- Says that this process lives; what its row says now (an operator may have paused it), NULL if the row is gone.
SELECT worker_heartbeat(%(incarnation)s, %(known_status)s, %(status)s, %(last_error)s, %(stats)s, %(token)s)

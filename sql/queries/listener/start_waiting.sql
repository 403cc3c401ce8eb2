-- From now on this session relies on NOTIFY; whether every writer that skipped one has ended.
SELECT start_waiting(%(polls)s)

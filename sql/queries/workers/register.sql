-- Enters this process into worker_registry; its slot.
SELECT register_worker(%(incarnation)s, %(name)s, %(type)s, %(blockchain)s, %(pid)s, %(host)s, NULL, %(config)s, %(token)s)

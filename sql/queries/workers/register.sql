-- Enters this process into worker_registry.
SELECT register_worker(%(id)s, %(name)s, %(type)s, %(blockchain)s, %(pid)s, %(host)s, NULL, %(config)s, %(token)s)

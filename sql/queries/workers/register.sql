-- Enters this process into worker_registry: its slot and what that was told; no row while the wanted slot is not free and no other will do.
SELECT slot, desired, generation, restart_generation
FROM register_worker(%(incarnation)s, %(name)s, %(type)s, %(blockchain)s, %(pid)s, %(host)s, %(port)s, %(config)s, %(token)s,
                     %(slot)s, %(elsewhere)s, %(desired)s, %(managed_by)s)

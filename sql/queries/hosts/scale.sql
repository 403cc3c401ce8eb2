-- Writes how many workers of a type there shall be; NULL: one on each host again. The function writes admin_actions and notifies.
SELECT type, blockchain, host, workers FROM scale_workers(%(type)s, %(workers)s, %(blockchain)s, %(host)s, %(anyway)s, %(admin)s)

-- Tells one worker: pause, resume, stop, start or restart; what its row says then.
SELECT slot, status, desired, generation, observed_generation
FROM control_worker(%(worker)s, %(action)s, %(anyway)s, %(admin)s)

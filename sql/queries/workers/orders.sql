-- What this process is told, and whether the system is paused; no row without a slot.
SELECT desired, generation, restart_generation, system_paused FROM worker_orders(%(incarnation)s)

-- Says that this process lives and what it does; what it is told. No row: its slot is another's, or its row is gone.
SELECT desired, generation, restart_generation
FROM report_worker(%(incarnation)s, %(status)s, %(observed)s, %(ended)s, %(last_error)s, %(stats)s, %(token)s)

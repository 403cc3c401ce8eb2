-- How often the processes of this slot began anew for their memory, in a row.
SELECT memory_restarts(%(incarnation)s)

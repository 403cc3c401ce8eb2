-- Takes and gives back slots as they are wanted now; all that this agent has.
SELECT slot, type, blockchain, desired, generation, pid, kept, free
FROM take_slots(%(incarnation)s, %(token)s, %(lines)s, %(running)s)

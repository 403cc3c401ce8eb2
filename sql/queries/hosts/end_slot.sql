-- Says that the process of a slot has ended, and why none is started any more, if so.
SELECT end_slot(%(incarnation)s, %(token)s, %(slot)s, %(pid)s, %(error)s)

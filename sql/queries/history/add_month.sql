-- Makes the partition of the month that a day is in; false: it was there.
SELECT add_history_month(%(day)s)

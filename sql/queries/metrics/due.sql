-- Work that is due for each type of worker, how long the oldest has been, and how many workers live.
SELECT w.type, w.due AS value_due, coalesce(extract(epoch FROM clock_timestamp() - w.since), 0) AS value_age, w.live AS value_live
FROM due_work() w

-- Whether the transaction of every writer that skipped its NOTIFY has ended.
SELECT suppressed_writers_ended()

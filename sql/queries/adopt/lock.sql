-- Nobody reads or writes an old table while it is taken over. NOWAIT: a transaction of somebody else's is an error, not a queue.
LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE NOWAIT;

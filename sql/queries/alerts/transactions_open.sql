-- Transactions that have been open for long and hold back vacuum.
SELECT t.pid, t.login, coalesce(t.application, 'unknown') AS application, t.state, t.held
FROM old_transactions(make_interval(secs => %(transaction_seconds)s)) t

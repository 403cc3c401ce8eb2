-- How long one question of doctor may take, in this transaction.
SELECT set_config('statement_timeout', %(milliseconds)s, true)

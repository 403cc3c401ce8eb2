-- A token with its thresholds (raw units). Every wallet of the chain gets a balance of it, due at once.
SELECT add_asset(%(chain)s, %(contract)s, %(symbol)s, %(decimals)s, %(flag_above)s, %(execute_min)s, %(tolerance)s, %(is_active)s,
                 %(admin)s);

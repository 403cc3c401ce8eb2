-- The thresholds (raw units) and the tolerance of a token in one statement, as each is checked against the others.
SELECT set_asset_thresholds(%(chain)s, %(token)s, %(flag_above)s, %(execute_min)s, %(tolerance)s, %(admin)s);

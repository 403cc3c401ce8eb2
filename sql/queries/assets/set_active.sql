-- Switches a token on or off: read and consolidated, or left alone. Whether it was on before.
SELECT set_asset_active(%(chain)s, %(token)s, %(active)s, %(admin)s) AS was_active;

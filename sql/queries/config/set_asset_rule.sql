-- Writes one rule of a token; triggers write admin_actions and NOTIFY config if the value changed.
SELECT set_asset_rule(%(chain)s, %(token)s, %(rule)s, %(value)s, %(admin)s)

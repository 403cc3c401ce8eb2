-- Writes one rule of a chain, or one entry of its fees; triggers write admin_actions and NOTIFY config if the value changed.
SELECT set_chain_rule(%(chain)s, %(rule)s, %(value)s, %(admin)s)

-- Locks a page of balances of one chain that is due, with the asset that they are of; no row: none is due.
SELECT claimed.asset_on_chain_id, claimed.after_id, claimed.last_id, claimed.record, a.symbol, a.decimals, a.contract_address
FROM claim_sync_page(%(chain_id)s, %(lock)s, %(lock_seconds)s, %(balances)s, %(record_seconds)s) AS claimed
JOIN asset_on_chain a ON a.id = claimed.asset_on_chain_id

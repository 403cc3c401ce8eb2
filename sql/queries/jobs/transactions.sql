-- What a job did with money: its transfers and each signed attempt of them, oldest first. Never the signed bytes.
SELECT t.id AS transfer_id, t.kind, t.state, t.from_address, t.to_address, t.amount, t.arrived, a.symbol, a.decimals,
       t.fee_paid, n.symbol AS fee_symbol, n.decimals AS fee_decimals, t.error_message, t.created_at, t.settled_at,
       x.attempt, x.txid, x.state AS transaction_state, x.expiration, x.first_broadcast_at, x.last_broadcast_at,
       x.broadcast_count, x.last_result, x.block_number, x.block_time
FROM transfers t
JOIN asset_on_chain a ON a.id = t.asset_on_chain_id
JOIN asset_on_chain n ON n.chain_id = t.chain_id AND n.contract_address IS NULL
LEFT JOIN chain_transactions x ON x.bundle_id = t.bundle_id
WHERE t.job_id = %(id)s
ORDER BY t.id, x.attempt;

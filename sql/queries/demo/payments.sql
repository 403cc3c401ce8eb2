-- Every transaction we know to have signed, with the transfer it belongs to: to be compared with the chain.
SELECT x.chain_id, x.txid, t.id AS transfer_id, t.kind, t.state, t.from_address, t.to_address, t.amount, a.contract_address
FROM chain_transactions x
JOIN transfers t ON t.bundle_id = x.bundle_id
JOIN asset_on_chain a ON a.id = t.asset_on_chain_id;

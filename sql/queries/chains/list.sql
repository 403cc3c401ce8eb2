-- Every chain: what it is, whether it is worked on, and how much hangs on it.
SELECT c.id, c.name, c.family, c.is_active, c.network_id, c.nodes, c.gas_policy, coin.symbol AS coin,
       (SELECT coalesce(jsonb_agg(a.symbol ORDER BY a.id), '[]') FROM asset_on_chain a
        WHERE a.chain_id = c.id AND a.contract_address IS NOT NULL AND a.is_active) AS tokens,
       (SELECT count(*) FROM wallets w WHERE w.chain_id = c.id) AS wallets,
       (SELECT count(*) FROM transfers t
        WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected')) AS payments_out
FROM chains c
LEFT JOIN asset_on_chain coin ON coin.chain_id = c.id AND coin.contract_address IS NULL
ORDER BY c.id;

-- Wallets without a balance of an active asset of their chain, which are never read: triggers/wallet_balances_exist.sql did not
-- fire for them. Of the newest %(newest)s wallets (NULL: of all). OFFSET 0: a probe for each, and no join with all balances.
WITH newest AS (
    SELECT w.id, w.address, w.chain_id FROM wallets w ORDER BY w.id DESC LIMIT %(newest)s::bigint
), missing AS (
    SELECT n.id, n.address, n.chain_id, a.symbol
    FROM newest n
    JOIN asset_on_chain a ON a.chain_id = n.chain_id AND a.is_active
    WHERE NOT EXISTS (SELECT FROM wallet_balances b WHERE b.wallet_id = n.id AND b.asset_on_chain_id = a.id OFFSET 0)
)
SELECT c.name AS chain, m.symbol, count(*) AS wallets, (array_agg(m.address ORDER BY m.id))[:3] AS examples,
       (array_agg(m.id ORDER BY m.id))[:100] AS ids
FROM missing m
JOIN chains c ON c.id = m.chain_id
GROUP BY c.name, m.symbol
ORDER BY c.name, m.symbol

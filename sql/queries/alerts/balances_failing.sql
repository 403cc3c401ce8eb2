-- Balances that could not be read more than %(error_count)s times, and not the last time either, by chain and asset. Read by an index
-- of those alone; at most 10,000 are counted.
SELECT c.name AS chain, a.symbol, failing.balances, failing.example, failing.said
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id AND c.is_active
CROSS JOIN LATERAL (
    SELECT count(*) AS balances, (array_agg(w.address ORDER BY b.error_count DESC))[1] AS example,
           (array_agg(b.last_error ORDER BY b.error_count DESC))[1] AS said
    FROM (SELECT b.wallet_id, b.error_count, b.last_error FROM wallet_balances b
          WHERE b.asset_on_chain_id = a.id AND b.error_count > 10 AND b.last_error IS NOT NULL AND b.error_count > %(error_count)s
          LIMIT 10000) b
    JOIN wallets w ON w.id = b.wallet_id
) failing
WHERE a.is_active AND failing.balances > 0
ORDER BY c.name, a.symbol

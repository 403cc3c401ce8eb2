-- Balances that are due later than any rule makes them: twice the interval, and twice the longest wait after errors (an hour). A
-- clock was wrong when they were scheduled, or somebody wrote the time. At most 1,000 of an asset are counted.
SELECT c.name AS chain, a.symbol, beyond.balances, beyond.latest, beyond.ids
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id
CROSS JOIN LATERAL (
    SELECT count(*) AS balances, max(b.next_check_at)::text AS latest, (array_agg(b.id))[:100] AS ids
    FROM (
        SELECT b.id, b.next_check_at FROM wallet_balances b
        WHERE b.asset_on_chain_id = a.id AND b.next_check_at > now() + 2 * greatest(c.sync_interval, interval '1 hour')
        ORDER BY b.next_check_at
        LIMIT 1000
    ) b
) beyond
WHERE a.is_active AND beyond.balances > 0
ORDER BY c.name, a.id

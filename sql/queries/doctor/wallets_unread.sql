-- Balances that have been due for longer than their interval, and for 5 minutes at the least, by themselves or with their page
-- (whose balances are counted, and named by its last one). While a sync holds some of that chain it is only behind; else nobody reads
-- it. At most 1,000 of an asset are counted, and as many pages.
SELECT c.name AS chain, a.symbol, overdue.balances, now() - overdue.oldest AS since,
       CASE WHEN %(paused)s THEN 'note' WHEN reading.now THEN 'warn' ELSE 'fail' END AS level,
       CASE WHEN reading.now THEN 'sync is behind' ELSE 'no sync reads them' END AS why,
       CASE WHEN reading.now THEN 'start another one beside it: flagpost sync' ELSE how_to_start('sync') END AS start,
       overdue.ids
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id
CROSS JOIN LATERAL (
    SELECT sum(b.balances)::bigint AS balances, min(b.next_check_at) AS oldest, (array_agg(b.id))[:100] AS ids
    FROM (
        (SELECT b.id, b.next_check_at, 1 AS balances FROM wallet_balances b
         WHERE b.asset_on_chain_id = a.id AND b.next_check_at < now() - greatest(c.sync_interval, interval '5 minutes')
         ORDER BY b.next_check_at
         LIMIT 1000)
        UNION ALL
        (SELECT p.last_id, p.next_check_at, coalesce(p.balances, 1) FROM sync_pages p
         WHERE p.asset_on_chain_id = a.id AND p.next_check_at < now() - greatest(c.sync_interval, interval '5 minutes')
           AND p.balances IS DISTINCT FROM 0
         ORDER BY p.next_check_at
         LIMIT 1000)
    ) b
) overdue
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM wallet_balances b
        WHERE b.processing_status = 'processing' AND b.asset_on_chain_id = a.id AND b.locked_until > now())
        OR EXISTS (SELECT FROM sync_pages p WHERE p.asset_on_chain_id = a.id AND p.locked_until > now()) AS now
) reading
WHERE a.is_active AND c.is_active AND overdue.balances > 0
ORDER BY c.name, a.id

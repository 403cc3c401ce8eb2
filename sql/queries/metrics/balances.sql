-- Balances by chain and asset: those that have been due for longer than their interval (5 minutes at the least) by themselves or with
-- their page, those that failed more than 10 times and still do, and locks that ended a minute ago. At most 1,000 of each.
SELECT c.name AS chain, a.symbol AS asset, overdue.balances AS value_overdue, failing.balances AS value_failing, stale.locks AS value_stale
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id AND c.is_active
CROSS JOIN LATERAL (
    SELECT coalesce(sum(d.balances), 0) AS balances
    FROM (
        (SELECT 1 AS balances FROM wallet_balances b
         WHERE b.asset_on_chain_id = a.id AND b.next_check_at < now() - greatest(c.sync_interval, interval '5 minutes')
         LIMIT 1000)
        UNION ALL
        (SELECT coalesce(p.balances, 1) FROM sync_pages p
         WHERE p.asset_on_chain_id = a.id AND p.next_check_at < now() - greatest(c.sync_interval, interval '5 minutes')
           AND p.balances IS DISTINCT FROM 0
         LIMIT 1000)
    ) d
) overdue
CROSS JOIN LATERAL (
    SELECT count(*) AS balances
    FROM (SELECT FROM wallet_balances b
          WHERE b.asset_on_chain_id = a.id AND b.error_count > 10 AND b.last_error IS NOT NULL LIMIT 1000) f
) failing
CROSS JOIN LATERAL (
    SELECT count(*) AS locks
    FROM (
        (SELECT FROM wallet_balances b
         WHERE b.processing_status = 'processing' AND b.asset_on_chain_id = a.id AND b.locked_until < now() - interval '1 minute' LIMIT 1000)
        UNION ALL
        (SELECT FROM sync_pages p
         WHERE p.locked_by IS NOT NULL AND p.asset_on_chain_id = a.id AND p.locked_until < now() - interval '1 minute' LIMIT 1000)
    ) l
) stale
WHERE a.is_active

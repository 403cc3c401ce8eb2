-- Balances, and pages of them, whose lock ended %(lock_ended_seconds)s seconds ago and is still there: the sync that read them is gone,
-- and no other one takes them. By chain and asset, at most 1,000 of each.
SELECT c.name AS chain, a.symbol, stale.locks, now() - stale.oldest AS since, stale.locked_by
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id AND c.is_active
CROSS JOIN LATERAL (
    SELECT count(*) AS locks, min(l.locked_until) AS oldest, (array_agg(l.locked_by))[1] AS locked_by
    FROM (
        (SELECT b.locked_until, b.locked_by FROM wallet_balances b
         WHERE b.processing_status = 'processing' AND b.asset_on_chain_id = a.id
           AND b.locked_until < now() - make_interval(secs => %(lock_ended_seconds)s)
         LIMIT 1000)
        UNION ALL
        (SELECT p.locked_until, p.locked_by FROM sync_pages p
         WHERE p.locked_by IS NOT NULL AND p.asset_on_chain_id = a.id
           AND p.locked_until < now() - make_interval(secs => %(lock_ended_seconds)s)
         LIMIT 1000)
    ) l
) stale
WHERE a.is_active AND stale.locks > 0
ORDER BY c.name, a.symbol

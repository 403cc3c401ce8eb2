-- Seconds until the next balance of a chain, or the next page of them, is due and not locked: 0 or less if one is due now, NULL
-- if the chain has none.
SELECT extract(epoch FROM least(min(next.at), min(page.at)) - clock_timestamp())::double precision AS seconds
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN b.processing_status = 'idle' THEN b.next_check_at
                ELSE greatest(b.next_check_at, b.locked_until) END AS at
    FROM wallet_balances b
    WHERE b.asset_on_chain_id = a.id AND b.next_check_at IS NOT NULL
    ORDER BY b.next_check_at
    LIMIT 1
) AS next ON true
LEFT JOIN LATERAL (
    SELECT p.next_check_at AS at FROM sync_pages p
    WHERE p.asset_on_chain_id = a.id
    ORDER BY p.next_check_at
    LIMIT 1
) AS page ON true
WHERE a.chain_id = %(chain_id)s AND a.is_active AND c.is_active

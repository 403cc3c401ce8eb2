-- Active chains, and those with payments out: how far final blocks were read, and what is out since when.
SELECT c.name AS chain, c.is_active, k.block_number AS block, clock_timestamp() - k.block_time AS behind,
       coalesce(o.payments, 0) AS payments, clock_timestamp() - o.since AS oldest
FROM chains c
LEFT JOIN chain_cursors k ON k.chain_id = c.id AND k.purpose = 'confirmations'
LEFT JOIN LATERAL (
    SELECT count(*) AS payments, min(t.created_at) AS since FROM transfers t
    WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected')
) o ON true
WHERE c.is_active OR o.payments > 0
ORDER BY c.name

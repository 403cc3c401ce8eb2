-- Payments that are out for longer than they can be: expired for 10 minutes and not proved dead (TRON); in no block though they
-- were replaced again and again (EVM: 20 times the blocks after which that is done, 10 minutes at the least); in a block for an
-- hour and not final.
SELECT c.name AS chain, count(DISTINCT t.id) AS payments, now() - min(late.since) AS since, late.why,
       (array_agg(DISTINCT a.txid))[:3] AS examples, (array_agg(DISTINCT t.id))[:100] AS ids
FROM chain_transactions a
JOIN transfers t ON t.bundle_id = a.bundle_id
JOIN chains c ON c.id = a.chain_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.state = 'broadcasting' THEN coalesce(a.expiration, a.first_broadcast_at) ELSE coalesce(a.block_time, a.updated_at)
           END AS since,
           CASE WHEN a.state = 'included' THEN 'are in a block and do not become final'
                WHEN a.nonce IS NULL THEN 'have expired, and nothing proves that they are dead'
                ELSE 'are in no block, though replaced with higher fees' END AS why,
           CASE WHEN a.state = 'included' THEN interval '1 hour'
                WHEN a.nonce IS NULL THEN interval '10 minutes'
                ELSE greatest(interval '10 minutes', 20 * c.replace_after_blocks * c.block_time) END AS patience
) late
WHERE a.state IN ('broadcasting', 'included') AND late.since < now() - late.patience
GROUP BY c.name, late.why
ORDER BY c.name, late.why

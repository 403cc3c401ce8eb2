-- How far final blocks are read: beyond the present (nothing newer is settled, and what is out would be called dead too early), or
-- not moving though payments are out. On EVM chains no proof hangs on the time of a block, and test networks with fast
-- blocks are ahead of the clock: an hour there.
SELECT c.name AS chain, k.purpose, k.block_number, k.block_time, now() - k.updated_at AS standing,
       k.block_time > now() + ahead.allowed AS beyond, ARRAY[c.id] AS ids
FROM chain_cursors k
JOIN chains c ON c.id = k.chain_id
CROSS JOIN LATERAL (SELECT CASE c.family WHEN 'evm' THEN interval '1 hour' ELSE interval '2 minutes' END AS allowed) ahead
WHERE k.block_time > now() + ahead.allowed
   OR (k.purpose = 'confirmations'
       AND k.updated_at < now() - greatest(interval '10 minutes', 60 * c.block_time)
       AND EXISTS (SELECT FROM chain_transactions a
                   WHERE a.chain_id = c.id AND a.state IN ('broadcasting', 'included')
                     AND a.first_broadcast_at < now() - greatest(interval '10 minutes', 60 * c.block_time)))
ORDER BY c.name

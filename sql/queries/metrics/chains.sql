-- The age of the newest final block that was read, by chain and purpose. While nothing is out, nobody has to read on: then 0.
SELECT c.name AS chain, k.purpose,
       CASE WHEN k.purpose <> 'confirmations'
              OR EXISTS (SELECT FROM transfers t WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected', 'requested'))
            THEN extract(epoch FROM clock_timestamp() - k.block_time) ELSE 0 END AS value_behind
FROM chain_cursors k JOIN chains c ON c.id = k.chain_id
WHERE c.is_active AND k.block_time IS NOT NULL

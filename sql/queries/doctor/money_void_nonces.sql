-- Nonces that have been waiting for 10 minutes to be filled: what their senders pay later waits behind them.
SELECT c.name AS chain, x.sender, count(*) AS nonces, now() - min(x.updated_at) AS since, (array_agg(x.id ORDER BY x.nonce))[:100] AS ids
FROM nonces x
JOIN chains c ON c.id = x.chain_id
WHERE x.state = 'void'
GROUP BY c.name, x.sender
HAVING min(x.updated_at) < now() - interval '10 minutes'
ORDER BY since DESC
LIMIT 20

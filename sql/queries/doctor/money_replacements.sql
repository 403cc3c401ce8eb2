-- Payments that have been waiting for 10 minutes for a signature with higher fees: no process with the keys works on the chain.
SELECT c.name AS chain, count(*) AS payments, now() - min(t.replace_wanted_at) AS since,
       (array_agg(t.from_address ORDER BY t.replace_wanted_at))[1] AS sender, (array_agg(t.id))[:100] AS ids
FROM transfers t
JOIN chains c ON c.id = t.chain_id
WHERE t.replace_wanted_at IS NOT NULL AND t.state = 'broadcasting' AND t.replace_wanted_at < now() - interval '10 minutes'
GROUP BY c.name
ORDER BY c.name

-- Payments that were decided an hour ago and are not on their way; their jobs say what they wait for.
SELECT c.name AS chain, count(*) AS payments, now() - min(t.updated_at) AS since,
       (array_agg(coalesce(j.error_message, 'nothing') ORDER BY t.updated_at))[1] AS reason, (array_agg(t.id))[:100] AS ids
FROM transfers t
JOIN chains c ON c.id = t.chain_id
JOIN job_logs j ON j.id = t.job_id
WHERE t.state NOT IN ('final', 'reverted', 'rejected') AND t.state IN ('requested', 'expired')
  AND t.updated_at < now() - interval '1 hour' AND j.completed_at IS NULL
GROUP BY c.name
ORDER BY c.name

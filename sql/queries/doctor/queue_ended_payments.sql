-- Payments that never left and whose job has ended for 5 minutes: the wallet's next payment of that asset is refused as long as
-- they stand. Triggers/jobs_and_money.sql did not fire, and no confirmation worker gave them up.
SELECT c.name AS chain, count(*) AS payments, (array_agg(w.address))[:3] AS examples, (array_agg(t.id))[:100] AS ids
FROM transfers t
JOIN job_logs j ON j.id = t.job_id
JOIN chains c ON c.id = t.chain_id
JOIN wallets w ON w.id = t.wallet_id
WHERE t.state NOT IN ('final', 'reverted', 'rejected') AND t.state IN ('requested', 'expired')
  AND j.status IN ('completed', 'failed', 'cancelled') AND j.completed_at < now() - interval '5 minutes'
GROUP BY c.name
ORDER BY c.name

-- Records of payments that contradict one another, as no statement of ours leaves them: they were written while triggers did not
-- fire, or somebody edited them. Live records, and the newest 5,000 payments.
SELECT c.name AS chain, wrong.what, count(*) AS payments, (array_agg(wrong.id ORDER BY wrong.id))[:3] AS examples,
       (array_agg(wrong.id ORDER BY wrong.id))[:100] AS ids
FROM (
    SELECT t.chain_id, t.id, format('settled as %%s with a signed transaction that is %%s', t.state, a.state) AS what
    FROM chain_transactions a
    JOIN transfers t ON t.bundle_id = a.bundle_id
    WHERE a.state IN ('broadcasting', 'included') AND t.state IN ('final', 'reverted', 'rejected')
    UNION ALL
    SELECT t.chain_id, t.id, format('%%s with no signed transaction that is out', t.state)
    FROM transfers t
    WHERE t.state NOT IN ('final', 'reverted', 'rejected') AND t.state IN ('broadcasting', 'included')
      AND NOT EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = t.bundle_id AND a.state IN ('broadcasting', 'included'))
    UNION ALL
    SELECT t.chain_id, t.id, format('%%s while its job is %%s', t.state, j.status)
    FROM transfers t
    JOIN job_logs j ON j.id = t.job_id
    WHERE t.state NOT IN ('final', 'reverted', 'rejected') AND t.state IN ('broadcasting', 'included')
      AND j.status IN ('completed', 'failed', 'cancelled')
      -- What was signed is sent, though its job ended between the two commits.
      AND NOT EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = t.bundle_id AND a.created_at > j.completed_at)
    UNION ALL
    SELECT x.chain_id, t.id, format('settled as %%s while its nonce is reserved', t.state)
    FROM nonces x
    JOIN transfers t ON t.bundle_id = x.bundle_id
    WHERE x.state = 'reserved' AND t.state IN ('final', 'reverted')
    UNION ALL
    SELECT t.chain_id, t.id, format('%%s with no transaction that is', t.state)
    FROM (SELECT * FROM transfers ORDER BY id DESC LIMIT 5000) t
    WHERE t.state IN ('final', 'reverted')
      AND NOT EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = t.bundle_id AND a.state = t.state)
) wrong
JOIN chains c ON c.id = wrong.chain_id
GROUP BY c.name, wrong.what
ORDER BY c.name, wrong.what

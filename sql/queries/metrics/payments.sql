-- Payments that are not settled, by chain, kind and state, with the age of the oldest.
SELECT c.name AS chain, t.kind, t.state, count(*) AS value_payments,
       extract(epoch FROM clock_timestamp() - min(t.created_at)) AS value_age
FROM transfers t JOIN chains c ON c.id = t.chain_id
WHERE t.state NOT IN ('final', 'reverted', 'rejected')
GROUP BY c.name, t.kind, t.state

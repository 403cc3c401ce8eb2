-- Hours in which more gas was promised than the budgets counted (triggers/gas_budgets.sql): more can be sent than they allow. Of
-- the newest 20,000 payments the hours that are whole among them, of the last day.
WITH newest AS (
    SELECT t.id, t.chain_id, t.kind, t.state, t.amount, t.created_at FROM transfers t ORDER BY t.id DESC LIMIT 20000
), reach AS (
    SELECT CASE WHEN count(*) < 20000 THEN '-infinity' ELSE date_trunc('hour', min(n.created_at), 'UTC') + interval '1 hour' END AS since
    FROM newest n
), promised AS (
    SELECT n.chain_id, date_trunc('hour', n.created_at, 'UTC') AS hour, count(*) AS topups, sum(n.amount) AS amount,
           array_agg(n.id) AS ids
    FROM newest n, reach
    WHERE n.kind = 'gas' AND n.state <> 'rejected' AND n.created_at >= reach.since AND n.created_at > now() - interval '1 day'
    GROUP BY n.chain_id, date_trunc('hour', n.created_at, 'UTC')
)
SELECT c.name AS chain, to_char(p.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24":00 UTC"') AS hour,
       p.topups, coalesce(g.topups, 0) AS counted, p.ids[:100] AS ids
FROM promised p
JOIN chains c ON c.id = p.chain_id
LEFT JOIN gas_spending g ON g.chain_id = p.chain_id AND g.hour = p.hour
WHERE p.topups > coalesce(g.topups, 0) OR p.amount > coalesce(g.amount, 0)
ORDER BY p.hour, c.name

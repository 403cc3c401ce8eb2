-- How far the sweep that acted last had compared wallets: the next one goes on there.
SELECT (stats ->> 'compared_up_to')::uuid
FROM worker_registry
WHERE type = 'sweep' AND jsonb_typeof(stats -> 'compared_up_to') = 'string'
ORDER BY last_heartbeat DESC
LIMIT 1

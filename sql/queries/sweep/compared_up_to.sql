-- How far the sweep that acted last had compared wallets: the next one goes on there.
SELECT coalesce((stats ->> 'compared_up_to')::bigint, 0)
FROM worker_registry
WHERE type = 'sweep' AND jsonb_typeof(stats -> 'compared_up_to') = 'number'
ORDER BY last_heartbeat DESC
LIMIT 1

-- Nodes that failed within 10 minutes, by what live processes say in worker_registry.stats; by chain and node.
SELECT chain.name AS chain, node.name AS node, count(*) AS workers, max(node.said) AS said
FROM worker_registry w
CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(w.stats -> 'nodes') WHEN 'object' THEN w.stats -> 'nodes' ELSE '{}' END)
    AS chain (name, nodes)
CROSS JOIN LATERAL jsonb_each_text(CASE jsonb_typeof(chain.nodes) WHEN 'object' THEN chain.nodes ELSE '{}' END) AS node (name, said)
WHERE w.status IN ('running', 'paused') AND w.last_heartbeat > now() - interval '60 seconds'
GROUP BY chain.name, node.name
ORDER BY chain.name, node.name
LIMIT 50

-- The chains a sync reads: those named, or all active ones.
SELECT id, name, family, is_active, network_id, nodes, fees, extract(epoch FROM block_time)::float8 AS block_seconds
FROM chains
WHERE CASE WHEN %(names)s::text[] IS NULL THEN is_active ELSE name = ANY (%(names)s::text[]) END
ORDER BY id

-- The chains a process may work on: those named, or all.
SELECT id, name, family, is_active, network_id, nodes, extract(epoch FROM block_time)::float8 AS block_seconds,
       fees, replace_after_blocks
  FROM chains
 WHERE %(names)s::text[] IS NULL OR name = ANY (%(names)s::text[])
 ORDER BY id;

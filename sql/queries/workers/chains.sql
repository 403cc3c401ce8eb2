-- The chains that payments are made on (those named, or all), with what a provider needs to know of each. `served`: it is
-- active, or switched off while payments of ours are still out there, which are followed to their end.
SELECT c.id,
       c.name,
       c.family,
       c.network_id,
       c.nodes,
       c.fees,
       c.replace_after_blocks,
       extract(epoch FROM c.block_time)::float8 AS block_seconds,
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                            'symbol', a.symbol, 'decimals', a.decimals, 'contract', a.contract_address) ORDER BY a.id)
                   FROM asset_on_chain a WHERE a.chain_id = c.id), '[]') AS assets,
       c.is_active OR EXISTS (
           SELECT FROM transfers t WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected')) AS served
  FROM chains c
 WHERE %(names)s::text[] IS NULL OR c.name = ANY (%(names)s::text[])
 ORDER BY c.id;

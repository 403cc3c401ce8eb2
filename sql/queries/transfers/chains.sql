-- The chains that payments are made on, with what a provider needs to know of each: node addresses and assets.
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
                   FROM asset_on_chain a WHERE a.chain_id = c.id), '[]') AS assets
  FROM chains c
 WHERE CASE WHEN %(names)s::text[] IS NULL THEN c.is_active ELSE c.name = ANY (%(names)s::text[]) END
 ORDER BY c.id;

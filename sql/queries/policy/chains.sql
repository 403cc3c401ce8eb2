-- Every chain with its active tokens, for comparing them with what a host may sign. Limits in native raw units.
SELECT c.id, c.name, c.family, c.network_id, c.is_active, c.fee_max, c.gas_max_per_day,
       coalesce(jsonb_agg(jsonb_build_object('symbol', a.symbol, 'contract', a.contract_address) ORDER BY a.id)
                FILTER (WHERE a.contract_address IS NOT NULL AND a.is_active), '[]') AS tokens
FROM chains c
LEFT JOIN asset_on_chain a ON a.chain_id = c.id
WHERE c.family IN ('tron', 'evm') AND (%(chain)s::text IS NULL OR c.name = %(chain)s)
GROUP BY c.id
ORDER BY c.id;

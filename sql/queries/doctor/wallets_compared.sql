-- The newest %(newest)s wallets (NULL: all) compared with what triggers keep of them: those with a balance in another unit than
-- its asset's decimals say, and those whose balances call for a flag that nobody raised or lowered.
SELECT found.kind, count(*) AS wallets, (array_agg(w.address ORDER BY w.id))[:3] AS examples,
       (array_agg(w.id ORDER BY w.id))[:100] AS ids
FROM (SELECT coalesce((SELECT w.id FROM wallets w ORDER BY w.id DESC LIMIT 1),
                      '00000000-0000-0000-0000-000000000000') AS last,
             coalesce((SELECT w.id FROM wallets w WHERE %(newest)s::bigint IS NOT NULL
                       ORDER BY w.id DESC OFFSET %(newest)s::bigint LIMIT 1),
                      '00000000-0000-0000-0000-000000000000') AS first) range
CROSS JOIN LATERAL compare_balances(range.first, range.last) compared
CROSS JOIN LATERAL (
    SELECT 'units' AS kind, unnest(compared.wrong_units) AS wallet_id
    UNION ALL
    SELECT 'flags', unnest(compared.unjudged)
) found
JOIN wallets w ON w.id = found.wallet_id
GROUP BY found.kind

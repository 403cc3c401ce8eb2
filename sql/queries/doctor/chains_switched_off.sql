-- Chains that are switched off with payments out, which are followed to their end; and assets that are switched off though wallets
-- hold some, of the newest %(newest)s balances of each.
SELECT format('%%s is switched off and has %%s payments out', c.name, payments.live) AS text, payments.ids
FROM chains c
CROSS JOIN LATERAL (
    SELECT count(*) AS live, (array_agg(t.id::text))[:100] AS ids
    FROM (SELECT t.id FROM transfers t
          WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected') LIMIT 1000) t
) payments
WHERE NOT c.is_active AND payments.live > 0
UNION ALL
SELECT format('%%s of %%s is switched off, and %%s wallets hold some', a.symbol, c.name, held.wallets), held.ids
FROM asset_on_chain a
JOIN chains c ON c.id = a.chain_id AND c.is_active
CROSS JOIN LATERAL (
    SELECT count(*) AS wallets, (array_agg(b.wallet_id::text))[:100] AS ids
    FROM (SELECT b.wallet_id, b.on_chain_balance_raw FROM wallet_balances b
          WHERE b.asset_on_chain_id = a.id LIMIT %(newest)s::bigint) b
    WHERE b.on_chain_balance_raw <> '0'
) held
WHERE NOT a.is_active AND held.wallets > 0

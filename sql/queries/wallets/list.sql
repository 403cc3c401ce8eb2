-- Wallets with what they hold, flagged ones first, for `flagpost wallets list`.
-- Guarantees: one row per wallet, also for one without balances; every filter is optional; amounts as stored (raw text).
-- Parameters: chain, needs_gas, needs_consolidation, foreign, address (a piece of it), limit; NULL means "any".
SELECT w.id, c.name AS chain, w.address, w.user_id, w.derivation_index, w.needs_gas, w.needs_consolidation,
       b.last_sync_at, b.balances, b.last_error
FROM wallets w
JOIN chains c ON c.id = w.chain_id
LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('symbol', a.symbol, 'decimals', a.decimals, 'raw', wb.on_chain_balance_raw,
                                        'native', a.contract_address IS NULL)
                     ORDER BY a.contract_address IS NOT NULL, a.id) AS balances,
           max(wb.last_checked) AS last_sync_at, min(wb.last_error) AS last_error
    FROM balance_state wb
    JOIN asset_on_chain a ON a.id = wb.asset_on_chain_id AND a.is_active
    WHERE wb.wallet_id = w.id
) b ON true
WHERE (%(chain)s::text IS NULL OR c.name = %(chain)s::text)
  AND (%(needs_gas)s::boolean IS NULL OR w.needs_gas = %(needs_gas)s::boolean)
  AND (%(needs_consolidation)s::boolean IS NULL OR w.needs_consolidation = %(needs_consolidation)s::boolean)
  AND (%(foreign)s::boolean IS NULL OR (w.derivation_index IS NULL) = %(foreign)s::boolean)
  AND (%(address)s::text IS NULL OR strpos(lower(w.address), lower(%(address)s::text)) > 0)
ORDER BY w.needs_gas DESC, w.needs_consolidation DESC, w.id
LIMIT %(limit)s;

-- The flags of the wallets of a batch, as somebody without triggers would set them: one statement after the store, with
-- the rules of the chain, and the times that the triggers keep.
UPDATE wallets w SET
    needs_gas = due.gas,
    needs_consolidation = due.tokens,
    needs_gas_since = CASE WHEN due.gas THEN coalesce(w.needs_gas_since, now()) END,
    needs_consolidation_since = CASE WHEN due.tokens THEN coalesce(w.needs_consolidation_since, now()) END,
    consolidation_ready_since = CASE WHEN due.tokens AND NOT due.gas THEN coalesce(w.consolidation_ready_since, now()) END,
    updated_at = now()
FROM (
    SELECT b.wallet_id,
           bool_or(a.contract_address IS NULL AND b.on_chain_balance_raw::numeric < c.gas_flag_below) AS gas,
           bool_or(a.contract_address IS NOT NULL
                   AND b.on_chain_balance_raw::numeric > a.consolidate_flag_above) AS tokens
    FROM wallet_balances b
    JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
    JOIN chains c ON c.id = a.chain_id
    WHERE b.wallet_id = ANY (ARRAY(SELECT r.wallet_id FROM wallet_balances r WHERE r.id = ANY (%(ids)s::uuid[])))
    GROUP BY b.wallet_id
) due
WHERE w.id = due.wallet_id AND (w.needs_gas <> due.gas OR w.needs_consolidation <> due.tokens)

-- What the rules say about each wallet of ours, by the balances we know: the flags it should have.
--
-- Guarantees: the one place where the thresholds are applied; evaluate_flags() copies it into wallets. A token
-- counts when it is active and above consolidate_flag_above. `threshold`: gas is needed below gas_flag_below;
-- `on_demand`: only where there are tokens to move, too. Only customers' wallets are in it: those of others
-- (no derivation_index) cannot be signed for, and our own (0 to 9) are neither filled nor emptied.
--
-- A balance that waits for a recheck (never read, or a payment has settled since) is unknown, and so may be
-- the verdict: NULL, and the flag stays as it is. Otherwise the stale half of a wallet that is read in two
-- steps would raise a flag that was just served, or lower one that stands.
CREATE OR REPLACE VIEW wallet_flag_rule WITH (security_invoker = true) AS
SELECT judged.wallet_id,
       judged.chain_id,
       judged.short_of_gas AND (judged.gas_policy = 'threshold' OR judged.tokens_to_move) AS needs_gas,
       judged.tokens_to_move AS needs_consolidation
FROM (
    SELECT w.id AS wallet_id,
           w.chain_id,
           c.gas_policy,
           bool_or(known.amount < c.gas_flag_below) FILTER (WHERE a.contract_address IS NULL) AS short_of_gas,
           CASE WHEN bool_or(known.amount > a.consolidate_flag_above) THEN true
                WHEN bool_or(a.contract_address IS NOT NULL AND b.recheck) THEN NULL
                ELSE false END AS tokens_to_move
    FROM wallets w
    JOIN chains c ON c.id = w.chain_id
    JOIN wallet_balances b ON b.wallet_id = w.id
    JOIN asset_on_chain a ON a.id = b.asset_on_chain_id AND a.is_active
    CROSS JOIN LATERAL (SELECT CASE WHEN NOT b.recheck THEN b.on_chain_balance_raw::numeric END AS amount) known
    WHERE w.derivation_index >= 10
    GROUP BY w.id, c.id
) judged;

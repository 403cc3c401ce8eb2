-- The wallets under the names that operators' runbooks use.
--
-- Guarantees: one row per wallet; amounts in human units (1 TRX, not sun). The token is the chain's active
-- token with the lowest asset id; a wallet without one, or without a balance row, shows NULL.
-- UPDATE and DELETE go straight through to wallets (Postgres sees a simple view), so that one statement
-- that flags many wallets notifies once; INSERT is triggers/user_wallets_insert.sql. Balances are set in wallet_balances.
CREATE OR REPLACE VIEW user_wallets WITH (security_invoker = true) AS
SELECT w.id,
       w.user_id,
       w.address,
       (SELECT c.name FROM chains c WHERE c.id = w.chain_id) AS network,
       (SELECT b.on_chain_balance_human
        FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
        WHERE b.wallet_id = w.id AND a.contract_address IS NOT NULL AND a.is_active
        ORDER BY a.id LIMIT 1) AS balance,
       (SELECT b.on_chain_balance_human
        FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
        WHERE b.wallet_id = w.id AND a.contract_address IS NOT NULL AND a.is_active
        ORDER BY a.id LIMIT 1) AS on_chain_balance,
       (SELECT b.on_chain_balance_human
        FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
        WHERE b.wallet_id = w.id AND a.contract_address IS NULL) AS trx_balance,
       w.needs_gas,
       w.needs_consolidation,
       (SELECT max(b.last_checked) FROM balance_state b WHERE b.wallet_id = w.id) AS last_sync,
       (SELECT max(b.last_checked) FROM balance_state b WHERE b.wallet_id = w.id) AS last_sync_at,
       w.created_at,
       w.updated_at,
       w.derivation_index
FROM wallets w;

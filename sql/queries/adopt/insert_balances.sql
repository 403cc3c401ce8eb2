-- The amounts that the old tables knew, shown until the first read, which alone decides flags (recheck stays true).
UPDATE wallet_balances b
SET on_chain_balance_human = old.amount, last_checked = old.last_sync
FROM (
    SELECT m.id AS wallet_id, a.id AS asset_id, m.last_sync,
           CASE WHEN a.contract_address IS NULL THEN m.coin_balance ELSE m.token_balance END AS amount
    FROM adopting m
    JOIN LATERAL (
        (SELECT a.id, a.contract_address, a.decimals FROM asset_on_chain a
         WHERE a.chain_id = m.chain_id AND a.contract_address IS NOT NULL AND a.is_active ORDER BY a.id LIMIT 1)
        UNION ALL
        SELECT a.id, a.contract_address, a.decimals FROM asset_on_chain a
        WHERE a.chain_id = m.chain_id AND a.contract_address IS NULL
    ) a ON true
    WHERE trunc(CASE WHEN a.contract_address IS NULL THEN m.coin_balance ELSE m.token_balance END, a.decimals)
          = CASE WHEN a.contract_address IS NULL THEN m.coin_balance ELSE m.token_balance END
) old
WHERE b.wallet_id = old.wallet_id AND b.asset_on_chain_id = old.asset_id;

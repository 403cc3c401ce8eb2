-- Budgets of gas that leave nothing for one more top-up, so that top-ups wait, and those of which %(budget_percent)s percent are spent.
SELECT c.name AS chain, budget.name AS budget, round(100 * budget.spent / nullif(budget.most, 0), 1) AS percent,
       CASE WHEN budget.spent + c.gas_amount > budget.most THEN 'leaves no top-up' ELSE 'is nearly spent' END AS what,
       trim_scale(budget.spent * n.coin) AS spent, trim_scale(budget.most * n.coin) AS most,
       n.symbol AS coin, flagged.wallets,
       CASE WHEN flagged.wallets > 0 AND budget.spent + c.gas_amount > budget.most THEN 'fail' ELSE 'warn' END AS level, ARRAY[c.id] AS ids
FROM chains c
JOIN (SELECT a.chain_id, a.symbol, trim_scale(1 / (10::numeric ^ a.decimals)) AS coin
      FROM asset_on_chain a WHERE a.contract_address IS NULL) n ON n.chain_id = c.id
CROSS JOIN LATERAL gas_spent(c.id) spent
CROSS JOIN LATERAL (VALUES
    ('gas_max_per_day', spent.day, c.gas_max_per_day::numeric),
    ('gas_max_total', spent.total, c.gas_max_total::numeric)
) AS budget (name, spent, most)
CROSS JOIN LATERAL (
    SELECT count(*) AS wallets
    FROM (SELECT FROM wallets w WHERE w.wanted_job = 'gas-topup' AND w.chain_id = c.id LIMIT 1000) w
) flagged
WHERE c.is_active AND (budget.spent + c.gas_amount > budget.most OR 100 * budget.spent >= %(budget_percent)s * budget.most)
ORDER BY c.name, budget.name

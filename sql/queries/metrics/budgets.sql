-- How much of the budgets of gas is spent, 0 to 1, by chain.
SELECT c.name AS chain, b.name AS budget, b.spent / b.most AS value_ratio
FROM chains c
CROSS JOIN LATERAL gas_spent(c.id) spent
CROSS JOIN LATERAL (VALUES
    ('gas_max_per_day', spent.day, c.gas_max_per_day::numeric),
    ('gas_max_total', spent.total, c.gas_max_total::numeric)
) AS b (name, spent, most)
WHERE c.is_active AND b.most > 0

-- How much of the budgets of gas is spent, 0 to 1, by chain. A day is counted as triggers/gas_budgets.sql does.
SELECT c.name AS chain, b.name AS budget, b.spent / b.most AS value_ratio
FROM chains c
CROSS JOIN LATERAL (
    SELECT coalesce(sum(g.amount + g.fees) FILTER (WHERE g.hour >= date_trunc('hour', now() - interval '24 hours', 'UTC')
                                                     AND g.hour <= now() + interval '1 hour'), 0) AS day,
           coalesce(sum(g.amount + g.fees), 0) AS total
    FROM gas_spending g WHERE g.chain_id = c.id
) spent
CROSS JOIN LATERAL (VALUES
    ('gas_max_per_day', spent.day, c.gas_max_per_day::numeric),
    ('gas_max_total', spent.total, c.gas_max_total::numeric)
) AS b (name, spent, most)
WHERE c.is_active AND b.most > 0

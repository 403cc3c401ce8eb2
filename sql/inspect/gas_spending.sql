-- What gas costs, against the budgets that the database enforces: amounts and fees, in the native coin (1 TRX, not sun).
-- psql -f sql/inspect/gas_spending.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Budgets (a day is the last 24 full hours and the current one)'
SELECT c.name AS chain, a.symbol AS coin, c.gas_policy AS policy,
       trim_scale(s.day * u.one) AS spent_day, trim_scale(c.gas_max_per_day * u.one) AS max_day,
       trim_scale(s.total * u.one) AS spent_total, trim_scale(c.gas_max_total * u.one) AS max_total,
       trim_scale(c.gas_max_per_wallet_day * u.one) AS max_wallet_day, trim_scale(c.gas_max_per_topup * u.one) AS max_topup,
       c.gas_cooldown AS cooldown
FROM chains c
JOIN asset_on_chain a ON a.chain_id = c.id AND a.contract_address IS NULL
CROSS JOIN LATERAL (SELECT trim_scale(1 / (10::numeric ^ a.decimals)) AS one) u
CROSS JOIN LATERAL gas_spent(c.id) s
ORDER BY c.name;

\echo 'By day (UTC), last 14'
SELECT c.name AS chain, (g.hour AT TIME ZONE 'UTC')::date AS day, sum(g.topups) AS topups,
       trim_scale(sum(g.amount) * trim_scale(1 / (10::numeric ^ a.decimals))) AS amount,
       trim_scale(sum(g.fees) * trim_scale(1 / (10::numeric ^ a.decimals))) AS fees
FROM gas_spending g
JOIN chains c ON c.id = g.chain_id
JOIN asset_on_chain a ON a.chain_id = c.id AND a.contract_address IS NULL
WHERE g.hour > now() - interval '14 days'
GROUP BY c.name, day, a.decimals
ORDER BY day DESC, c.name;

\echo 'The 20 wallets that received most in 24 hours'
SELECT c.name AS chain, w.address, count(*) AS topups,
       trim_scale(sum(t.amount) * trim_scale(1 / (10::numeric ^ a.decimals))) AS amount, max(t.created_at) AS latest
FROM transfers t
JOIN wallets w ON w.id = t.wallet_id
JOIN chains c ON c.id = t.chain_id
JOIN asset_on_chain a ON a.id = t.asset_on_chain_id
WHERE t.kind = 'gas' AND t.state <> 'rejected' AND t.created_at > now() - interval '24 hours'
GROUP BY c.name, w.id, a.decimals
ORDER BY sum(t.amount) DESC
LIMIT 20;

\echo 'Fees of payments, last 24 hours (a transaction is refused above fee_max, or above fee_rise_max times the average)'
SELECT c.name AS chain, f.kind, sum(f.payments) AS payments, trim_scale(sum(f.fees) * u.one) AS fees,
       trim_scale(round(sum(f.fees) / sum(f.payments)) * u.one) AS average, trim_scale(max(f.highest) * u.one) AS highest,
       trim_scale(c.fee_max * u.one) AS fee_max, c.fee_rise_max
FROM fees_paid f
JOIN chains c ON c.id = f.chain_id
JOIN asset_on_chain n ON n.chain_id = c.id AND n.contract_address IS NULL
CROSS JOIN LATERAL (SELECT trim_scale(1 / (10::numeric ^ n.decimals)) AS one) u
WHERE f.hour > now() - interval '24 hours'
GROUP BY c.id, f.kind, u.one
ORDER BY c.name, f.kind;

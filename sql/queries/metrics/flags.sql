-- Wallets whose flag is up, by chain and the type of job that it calls for: at most 10,000 of each type.
SELECT c.name AS chain, f.type, count(*) AS value_wallets
FROM (VALUES ('gas-topup'), ('consolidation')) AS k (type)
CROSS JOIN LATERAL (SELECT w.chain_id, k.type FROM wallets w WHERE w.wanted_job = k.type LIMIT 10000) f
JOIN chains c ON c.id = f.chain_id
GROUP BY c.name, f.type

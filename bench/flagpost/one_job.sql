-- The least that queueing one job can be.
INSERT INTO job_logs (job_id, job_type, wallet_id, wallet_address, chain_id, status, lease)
SELECT 'hop-' || nextval('job_logs_seq'), 'gas-topup', id, address, chain_id, 'completed', 1
FROM wallets ORDER BY id LIMIT 1

-- Queues a job for each of many wallets, as an operator would in psql.
INSERT INTO job_logs (job_id, job_type, wallet_id, wallet_address, chain_id)
SELECT 'bench-' || nextval('job_logs_seq'), 'gas-topup', w.id, w.address, w.chain_id
FROM wallets w WHERE w.id <= ('00000000-0000-7000-8000-' || lpad(to_hex(%(jobs)s::integer), 12, '0'))::uuid

-- What autovacuum and the checkpointer would otherwise do while somebody measures.
VACUUM (ANALYZE) wallets;
VACUUM (ANALYZE) wallet_balances;
VACUUM (ANALYZE) job_logs;
SELECT recount_jobs();
CHECKPOINT

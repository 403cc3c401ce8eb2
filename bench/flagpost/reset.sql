-- Empties the queue and lowers every flag, so that the rounds begin alike. As a replica, because the triggers rightly
-- refuse to forget jobs and payments.
SET session_replication_role = replica;
TRUNCATE job_logs, job_counts, job_count_deltas CASCADE;
UPDATE wallets SET needs_gas = false, needs_consolidation = false,
                   needs_gas_since = NULL, needs_consolidation_since = NULL, consolidation_ready_since = NULL
WHERE wanted_job IS NOT NULL;
SET session_replication_role = origin;
VACUUM (ANALYZE) wallets;
VACUUM (ANALYZE) wallet_balances;
VACUUM (ANALYZE) job_logs;

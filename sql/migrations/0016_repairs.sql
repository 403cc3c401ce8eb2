-- A wallet knows when each of its flags last fell, so that a flag which nobody raised can be told from one that was lowered.
--
-- Rows written while triggers do not fire (session_replication_role = replica: bulk loads, logical replication; a trigger
-- that was disabled) leave balances that nobody judged: the flag is down though the rule wants it up. So does an operator who
-- lowers a flag, and a job that found nothing to do; those are to be left alone until an amount changes
-- (sql/functions/repairs.sql).
--
-- 'epoch': it is not known, the wallet is older than this. NULL: it never fell. A constant default rewrites no row.
ALTER TABLE wallets
    ADD COLUMN gas_flag_fell_at timestamptz DEFAULT 'epoch',
    ADD COLUMN consolidation_flag_fell_at timestamptz DEFAULT 'epoch';
ALTER TABLE wallets
    ALTER COLUMN gas_flag_fell_at DROP DEFAULT,
    ALTER COLUMN consolidation_flag_fell_at DROP DEFAULT;

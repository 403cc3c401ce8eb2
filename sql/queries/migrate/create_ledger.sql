-- The ledger of applied migrations. Who has SELECT on it sees all of it (sql/roles/20_privileges.sql).
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS everybody_reads_the_ledger ON schema_migrations;
CREATE POLICY everybody_reads_the_ledger ON schema_migrations FOR SELECT USING (true);

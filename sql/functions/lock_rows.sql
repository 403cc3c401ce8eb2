-- Exclusive locks by name, held until commit: a row of flagpost_locks.named, which nobody but its owner may touch.
--
-- Made here and not by a migration, so that they are back after a restore of the schema public alone.
--
-- Guarantees: who has no right to call the functions that lock (lock_gas, lock_sender, reserve_nonce, …) can keep nobody from
-- it. No wait is longer than 10 s (55P03, lock_not_available); who is waited for is told meanwhile (blocked_sessions).

CREATE SCHEMA IF NOT EXISTS flagpost_locks;
REVOKE ALL ON SCHEMA flagpost_locks FROM PUBLIC;
-- One row a name: locked FOR UPDATE until commit, never updated, never deleted.
CREATE TABLE IF NOT EXISTS flagpost_locks.named (name text PRIMARY KEY);
-- Locked as a table, never written (sql/functions/lock_thresholds.sql).
CREATE TABLE IF NOT EXISTS flagpost_locks.thresholds ();

-- Locks the row of that name, new or not, until commit.
CREATE OR REPLACE FUNCTION lock_row(p_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '10s'
AS $$
BEGIN
    PERFORM FROM flagpost_locks.named r WHERE r.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO flagpost_locks.named (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
        PERFORM FROM flagpost_locks.named r WHERE r.name = p_name FOR UPDATE;
    END IF;
END
$$;

-- Exclusive locks by name, held until commit: a row of flagpost_locks.named, which nobody but its owner may touch.
--
-- Guarantees: who has no right to call the functions that lock (lock_gas, lock_sender, reserve_nonce, …) can keep nobody from
-- it. No wait is longer than 10 s (55P03, lock_not_available); who is waited for is told meanwhile (blocked_sessions).

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

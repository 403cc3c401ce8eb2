-- Who needs the bell wallet_flags: listeners that ask for silence during a storm of flags, and why none of them misses one.
--
-- Every commit that rings takes a lock of the whole database, so that writers who each flip one flag wait for one
-- another's disk. A listener in a burst of bells therefore looks by itself every few milliseconds instead, and writers
-- then ring nobody (pipeline/db/notify_gate.py, triggers/wallet_flags.sql). Three advisory locks tell them of each other:
--
--     asleep   shared, by the LISTEN session of every listener that relies on the bell
--     awake    exclusive, by the LISTEN session of one that looks by itself
--     silent   shared until the end of the transaction, by every writer that rang nobody
--
-- Guarantees: a writer rings unless somebody is awake and nobody asleep, so that a person at LISTEN without any listener,
-- or beside listeners that sleep, hears every bell. A writer that does not ring took "silent" and then saw nobody asleep;
-- a listener takes "asleep" and then looks whether anybody is silent, and looks at the tables again until nobody is.
-- Whichever came first, one of the two sees the other, and a commit is visible before its locks are gone: nothing is
-- lost at any isolation level. Locks end with their session: a listener that dies or a server that restarts leaves
-- nothing behind, and one that is frozen while it is awake silences no bell that another listener waits for.
--
-- An advisory lock is for whoever may connect, so nobody waits for one here, and whoever is refused takes it for the busier
-- case: a writer notifies, and a listener that cannot hold "asleep" does not rely on it but looks by itself (every 0.25 s) until
-- it can. Somebody else who holds all three costs throughput in a storm, and no flag (tests/db/test_gate_strangers.py).

CREATE OR REPLACE FUNCTION bell_key(held_by text) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT hashtextextended('flagpost: wallet_flags ' || held_by, 0) $$;

-- For a person at LISTEN who wants every bell also in a storm, and for listeners: from now on nobody else's change of flags
-- is silent, until this session ends. False: somebody holds the lock alone. Writers do so for a moment, hence more than one try.
CREATE OR REPLACE FUNCTION hear_every_bell() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    FOR try IN 1..20 LOOP
        IF pg_try_advisory_lock_shared(bell_key('asleep')) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;

-- Whether every writer that rang nobody has ended.
CREATE OR REPLACE FUNCTION nobody_is_silent() RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN pg_try_advisory_lock(bell_key('silent')) THEN pg_advisory_unlock(bell_key('silent')) ELSE false END
$$;

-- From now on this session is to be rung; whether nobody is silent any more. hushes: whether it holds "awake". NULL: it cannot
-- be rung yet, because somebody else holds the lock; it keeps what it has, and has to look by itself.
CREATE OR REPLACE FUNCTION fall_asleep(hushes boolean) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT hear_every_bell() THEN
        RETURN NULL;
    END IF;
    IF hushes THEN
        PERFORM pg_advisory_unlock(bell_key('awake'));
    END IF;
    RETURN nobody_is_silent();
END
$$;

-- From now on this session need not be rung; whether it holds "awake". Another listener may have that: one is enough.
CREATE OR REPLACE FUNCTION stay_awake() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_unlock_shared(bell_key('asleep'));
    RETURN pg_try_advisory_lock(bell_key('awake'));
END
$$;

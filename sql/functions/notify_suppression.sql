-- When NOTIFY wallet_flags is suppressed: listeners poll under a load of flags, and why none of them misses one.
--
-- Every commit that notifies takes a lock of the whole database, so that writers who each flip one flag wait for one
-- another's disk. A listener that hears a burst therefore polls every few milliseconds instead, and writers then skip
-- NOTIFY (pipeline/db/notify_gate.py, triggers/wallet_flags.sql). Three advisory locks tell them of each other:
--
--     waiting     shared, by the LISTEN session of every listener that relies on NOTIFY
--     polling     exclusive, by the LISTEN session of one that polls
--     suppressed  shared until the end of the transaction, by every writer that skipped its NOTIFY
--
-- Guarantees: a writer notifies unless somebody polls and nobody waits, so that a person at LISTEN without any listener,
-- or beside listeners that wait, gets every NOTIFY. A writer that skips it took "suppressed" and then saw nobody hold
-- "waiting"; a listener takes "waiting" and then sees whether anybody holds "suppressed", and reads the tables again until
-- nobody does. Whichever came first, one of the two sees the other, and a commit is visible before its locks are gone:
-- nothing is lost at any isolation level. Locks end with their session: a listener that dies or a server that restarts
-- leaves nothing behind, and one that is frozen while it polls suppresses no NOTIFY that another listener waits for.
--
-- An advisory lock is for whoever may connect, so nobody waits for one here, and whoever is refused takes it for the busier
-- case: a writer notifies, and a listener that cannot hold "waiting" does not rely on NOTIFY but polls (every 0.25 s) until
-- it can. Somebody else who holds all three costs throughput under load, and no flag (tests/db/test_foreign_login.py).

CREATE OR REPLACE FUNCTION notify_lock(held_by text) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT hashtextextended('flagpost: wallet_flags ' || held_by, 0) $$;

-- For a person at LISTEN who wants every NOTIFY also under load, and for listeners: from now on every change of flags notifies,
-- until this session ends. False: somebody holds the lock alone. Writers do so for a moment, hence more than one try.
CREATE OR REPLACE FUNCTION require_notify() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    FOR try IN 1..20 LOOP
        IF pg_try_advisory_lock_shared(notify_lock('waiting')) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;

-- Whether the transaction of every writer that skipped its NOTIFY has ended.
CREATE OR REPLACE FUNCTION suppressed_writers_ended() RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN pg_try_advisory_lock(notify_lock('suppressed'))
                THEN pg_advisory_unlock(notify_lock('suppressed')) ELSE false END
$$;

-- From now on this session relies on NOTIFY; whether every writer that skipped one has ended. polls: whether it holds
-- "polling". NULL: it cannot rely on it yet, because somebody else holds the lock; it keeps what it has, and has to poll.
CREATE OR REPLACE FUNCTION start_waiting(polls boolean) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT require_notify() THEN
        RETURN NULL;
    END IF;
    IF polls THEN
        PERFORM pg_advisory_unlock(notify_lock('polling'));
    END IF;
    RETURN suppressed_writers_ended();
END
$$;

-- From now on this session polls and needs no NOTIFY; whether it holds "polling". Another listener may have that: one is enough.
CREATE OR REPLACE FUNCTION start_polling() RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_unlock_shared(notify_lock('waiting'));
    RETURN pg_try_advisory_lock(notify_lock('polling'));
END
$$;

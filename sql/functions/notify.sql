-- Every NOTIFY of this project goes through here, so that it can fail without failing the commit that it belongs to.
--
-- Guarantees: no notification is added to a queue that is half full. While any session of the server listens in a transaction,
-- or takes no data from its connection, the queue keeps everything that was notified since, for all databases; a full one
-- fails every commit that notifies, a pause among them, and stays full after that session has gone until somebody
-- notifies or asks for its usage. Who is suppressed here asks, and listeners do at each ping; they poll meanwhile
-- (pipeline/db/notification_queue.py). The other half of the queue is for transactions that notified before and commit later.

-- Whether NOTIFY is suppressed, by the share of the queue that is used (pg_notification_queue_usage). Asking it frees what
-- nobody needs any more.
CREATE OR REPLACE FUNCTION notify_is_suppressed(p_usage double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT p_usage >= 0.5 $$;

-- NOTIFY at the commit, unless the queue is too full. Asking costs 3 of the 350 µs that a notifying commit takes.
CREATE OR REPLACE FUNCTION notify_listeners(p_channel text, p_payload text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT notify_is_suppressed(pg_notification_queue_usage()) THEN
        PERFORM pg_notify(p_channel, p_payload);
    END IF;
END
$$;

-- Which sessions may keep the queue from being freed, the likeliest first: those in a transaction, the oldest first, and those
-- whose client takes no data; of any database. Postgres does not say which of them listens. `since` is NULL where the owner
-- of this schema may not see it (pg_read_all_stats).
CREATE OR REPLACE FUNCTION notification_queue_suspects()
RETURNS TABLE (pid integer, usename name, datname name, application_name text, since timestamptz)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT a.pid, a.usename, a.datname, a.application_name, coalesce(a.xact_start, a.state_change)
    FROM pg_stat_activity a
    WHERE a.usesysid IS NOT NULL AND a.datid IS NOT NULL AND a.pid <> pg_backend_pid()
      AND (a.wait_event = 'ClientWrite'
           OR EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid = a.pid AND l.granted))
    ORDER BY coalesce(a.xact_start, a.state_change) NULLS LAST, a.pid
    LIMIT 3
$$;

-- Which wallets balance_due names (triggers/balance_due.sql).
--
-- Guarantees: never more than 20 addresses of at most 64 characters, so that a payload stays under the
-- 8,000 bytes of a NOTIFY whatever an operator has written into wallets.address.
CREATE OR REPLACE FUNCTION addresses_of(wallet_ids uuid[]) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(named.address ORDER BY named.id), '[]')
    FROM (
        SELECT w.id, left(w.address, 64) AS address FROM wallets w
        WHERE w.id = ANY (wallet_ids) ORDER BY w.id LIMIT 20
    ) named
$$;

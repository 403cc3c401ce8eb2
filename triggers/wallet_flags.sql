-- Flags that rise so that there is work NOTIFY wallet_flags once per statement:
-- {"needs_gas": 2, "ready_to_consolidate": 1, "wallets": ["T…", …]}, at most 20 wallets named, by at most 64 characters
-- each, so that a payload stays under the 8,000 bytes of a NOTIFY whatever an operator has written into wallets.address.
--
-- Work is: needs_gas rose; or the wallet became ready to consolidate, which it also does when needs_gas falls
-- while needs_consolidation stands (gas comes first). The same value written again notifies nobody.
--
-- Nor does a statement under load, while a listener polls and none waits for NOTIFY
-- (sql/functions/notify_suppression.sql). That is asked first, because it costs a tenth of finding out what to say.

CREATE OR REPLACE FUNCTION notify_wallet_flags() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    gas bigint;
    ready bigint;
    addresses jsonb;
    -- Each lock is let go in the expression that took it: nothing can come in between. Whoever meets another writer there
    -- notifies for nothing.
    suppressed boolean := CASE
        WHEN pg_try_advisory_lock_shared(notify_lock('polling')) THEN NOT pg_advisory_unlock_shared(notify_lock('polling'))
        WHEN NOT pg_try_advisory_xact_lock_shared(notify_lock('suppressed')) THEN false
        WHEN pg_try_advisory_lock(notify_lock('waiting')) THEN pg_advisory_unlock(notify_lock('waiting'))
        ELSE false
    END;
BEGIN
    IF suppressed THEN
        RETURN NULL;
    END IF;

    IF TG_OP = 'INSERT' THEN
        SELECT count(*) FILTER (WHERE rose.gas), count(*) FILTER (WHERE NOT rose.gas),
               jsonb_agg(left(rose.address, 64) ORDER BY rose.id) FILTER (WHERE rose.place <= 20)
        INTO gas, ready, addresses
        FROM (
            SELECT n.id, n.address, n.needs_gas AS gas, row_number() OVER () AS place
            FROM new_rows n
            WHERE n.needs_gas OR n.needs_consolidation
        ) rose;
    ELSE
        -- A full join has no nested loop, whatever number of rows the plan was made for (see balance_flags.sql). CASE and
        -- coalesce on purpose: a condition that is strict in one side would make a left join of it, which has.
        SELECT count(*) FILTER (WHERE rose.gas), count(*) FILTER (WHERE NOT rose.gas),
               jsonb_agg(left(rose.address, 64) ORDER BY rose.id) FILTER (WHERE rose.place <= 20)
        INTO gas, ready, addresses
        FROM (
            SELECT n.id, n.address, n.needs_gas AS gas, row_number() OVER () AS place
            FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
            WHERE CASE WHEN n.needs_gas THEN NOT coalesce(o.needs_gas, false)
                       ELSE coalesce(n.needs_consolidation, false) AND NOT (coalesce(o.needs_consolidation, false)
                                                                            AND NOT coalesce(o.needs_gas, false)) END
        ) rose;
    END IF;
    IF gas + ready > 0 THEN
        PERFORM notify_listeners('wallet_flags', format(
            '{"needs_gas": %s, "ready_to_consolidate": %s, "wallets": %s}', gas, ready, addresses));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER wallet_flags_insert AFTER INSERT ON wallets
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_wallet_flags();

CREATE OR REPLACE TRIGGER wallet_flags_update AFTER UPDATE ON wallets
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_wallet_flags();

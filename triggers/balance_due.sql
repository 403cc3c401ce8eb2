-- Balances that become due from outside the sync NOTIFY balance_due once per statement:
-- {"balances": 3, "wallets": ["T…", …]}, at most 20 wallets named.
--
-- The sync's own statements move next_check_at into the future and so notify nobody; nor does one that was due already.

CREATE OR REPLACE FUNCTION notify_balance_due() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    at_present timestamptz := clock_timestamp();
    due integer;
    wallet_ids uuid[];
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows n WHERE n.next_check_at <= at_present) THEN
        RETURN NULL;
    END IF;

    IF TG_OP = 'INSERT' THEN
        SELECT count(*), (array_agg(n.wallet_id ORDER BY n.id))[:50] INTO due, wallet_ids
        FROM new_rows n WHERE n.next_check_at <= at_present;
    ELSE
        SELECT count(*), (array_agg(woken.wallet_id ORDER BY woken.id))[:50] INTO due, wallet_ids
        FROM (
            SELECT n.id, n.wallet_id FROM new_rows n WHERE n.next_check_at <= at_present
            EXCEPT
            SELECT o.id, o.wallet_id FROM old_rows o WHERE o.next_check_at <= at_present
        ) woken;
    END IF;

    IF due > 0 THEN
        PERFORM notify_listeners('balance_due', format('{"balances": %s, "wallets": %s}', due, addresses_of(wallet_ids)));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER balance_due_insert AFTER INSERT ON wallet_balances
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_balance_due();

CREATE OR REPLACE TRIGGER balance_due_update AFTER UPDATE ON wallet_balances
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_balance_due();

-- A locked balance is due again when its lock ends: locking by hand moves next_check_at to that moment, unlocking by
-- hand makes the balance due at once. Statements that set next_check_at themselves (the sync's) are left alone.
--
-- Guarantees: a lock that a clock far ahead has ended leaves a balance that is due once the clock is right, and not one that
-- waits until the lock would have ended: at the latest it is due since its row was written last, by who locked it.

CREATE OR REPLACE FUNCTION keep_balance_locks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NEW.processing_status = 'processing' THEN
        NEW.next_check_at := coalesce(NEW.locked_until, NEW.next_check_at);
    ELSIF OLD.next_check_at = OLD.locked_until THEN
        NEW.next_check_at := least(NEW.next_check_at, now(), OLD.updated_at);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER balance_locks BEFORE UPDATE ON wallet_balances
FOR EACH ROW WHEN (
    OLD.locked_until IS DISTINCT FROM NEW.locked_until AND OLD.next_check_at IS NOT DISTINCT FROM NEW.next_check_at
) EXECUTE FUNCTION keep_balance_locks();

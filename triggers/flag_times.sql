-- A wallet knows since when its flags are up (needs_gas_since, needs_consolidation_since), and since when it can be
-- consolidated, having the gas for it (consolidation_ready_since); each is empty while there is no such work. It knows when
-- each flag last fell (gas_flag_fell_at, consolidation_flag_fell_at), by which the sweep tells flags that were lowered from
-- those that nobody raised (sql/functions/repairs.sql); by which transaction its flags last changed while one is up (flag_xid, for
-- scans of what is new: sql/queries/queue/enqueue_and_claim.sql); and when it was last written, as all other rows do by updated_at.sql.
--
-- Without a condition: each is read and prepared anew for every statement, which takes as long as the function itself, and
-- of wallets hardly anything but the flags is ever written.

CREATE OR REPLACE FUNCTION keep_flag_times() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
            NEW.updated_at := now();
        END IF;
        IF NEW.needs_gas = OLD.needs_gas AND NEW.needs_consolidation = OLD.needs_consolidation THEN
            RETURN NEW;
        END IF;
    END IF;

    NEW.flag_xid := CASE WHEN NEW.needs_gas OR NEW.needs_consolidation THEN pg_current_xact_id() END;
    IF NEW.needs_gas THEN
        IF TG_OP = 'INSERT' OR NOT OLD.needs_gas THEN
            NEW.needs_gas_since := clock_timestamp();
        END IF;
    ELSIF TG_OP = 'UPDATE' AND OLD.needs_gas THEN
        NEW.needs_gas_since := NULL;
        NEW.gas_flag_fell_at := clock_timestamp();
    ELSE
        NEW.needs_gas_since := NULL;
    END IF;
    IF NEW.needs_consolidation THEN
        IF TG_OP = 'INSERT' OR NOT OLD.needs_consolidation THEN
            NEW.needs_consolidation_since := clock_timestamp();
        END IF;
    ELSIF TG_OP = 'UPDATE' AND OLD.needs_consolidation THEN
        NEW.needs_consolidation_since := NULL;
        NEW.consolidation_flag_fell_at := clock_timestamp();
    ELSE
        NEW.needs_consolidation_since := NULL;
    END IF;
    IF NEW.needs_gas OR NOT NEW.needs_consolidation THEN
        NEW.consolidation_ready_since := NULL;
    ELSIF TG_OP = 'INSERT' OR OLD.needs_gas OR NOT OLD.needs_consolidation THEN
        NEW.consolidation_ready_since := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER flag_times_insert BEFORE INSERT ON wallets
FOR EACH ROW WHEN (NEW.needs_gas OR NEW.needs_consolidation) EXECUTE FUNCTION keep_flag_times();

CREATE OR REPLACE TRIGGER flag_times_update BEFORE UPDATE ON wallets
FOR EACH ROW EXECUTE FUNCTION keep_flag_times();

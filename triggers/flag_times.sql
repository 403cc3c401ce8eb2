-- A wallet knows since when its flags are up (needs_gas_since, needs_consolidation_since), and since when it can be
-- consolidated, having the gas for it (consolidation_ready_since); each is empty while there is no such work.

CREATE OR REPLACE FUNCTION keep_flag_times() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT NEW.needs_gas THEN
        NEW.needs_gas_since := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.needs_gas THEN
        NEW.needs_gas_since := clock_timestamp();
    END IF;
    IF NOT NEW.needs_consolidation THEN
        NEW.needs_consolidation_since := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.needs_consolidation THEN
        NEW.needs_consolidation_since := clock_timestamp();
    END IF;
    IF NEW.needs_gas OR NOT NEW.needs_consolidation THEN
        NEW.consolidation_ready_since := NULL;
    ELSIF TG_OP = 'INSERT' OR OLD.needs_gas OR NOT OLD.needs_consolidation THEN
        NEW.consolidation_ready_since := clock_timestamp();
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
        NEW.updated_at := now();  -- and triggers/updated_at.sql need not be called
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER flag_times_insert BEFORE INSERT ON wallets
FOR EACH ROW WHEN (NEW.needs_gas OR NEW.needs_consolidation) EXECUTE FUNCTION keep_flag_times();

CREATE OR REPLACE TRIGGER flag_times_update BEFORE UPDATE ON wallets
FOR EACH ROW WHEN (
    OLD.needs_gas IS DISTINCT FROM NEW.needs_gas OR OLD.needs_consolidation IS DISTINCT FROM NEW.needs_consolidation
) EXECUTE FUNCTION keep_flag_times();

-- How far final blocks were read never goes back, neither in height nor in time: the proof that a payment is dead hangs on it.

CREATE OR REPLACE FUNCTION refuse_receding_cursor() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'final blocks of chain % are read up to % (%), and not only up to % (%)',
        OLD.chain_id, OLD.block_number, OLD.block_time, NEW.block_number, NEW.block_time USING
        ERRCODE = 'FP004',
        HINT = 'A network that was set up anew is another chain: give it a row of its own.';
END
$$;

CREATE OR REPLACE TRIGGER cursors BEFORE UPDATE ON chain_cursors
FOR EACH ROW WHEN (
    (NEW.chain_id, NEW.purpose) IS DISTINCT FROM (OLD.chain_id, OLD.purpose)
    OR NEW.block_number < OLD.block_number OR NEW.block_time < OLD.block_time
) EXECUTE FUNCTION refuse_receding_cursor();

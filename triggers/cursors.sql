-- How far final blocks were read never goes back, neither in height nor in time, and never further ahead than a chain can have
-- grown: the proof that a payment is dead hangs on it, and above a height that is none nothing would be settled any more.

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

-- A block's time is ahead of this server's clock by no more than chains.clock_ahead: a cursor that is further ahead would prove
-- bytes dead that have not expired yet. And a chain makes no more than 20 blocks in the time of one by chains.block_time, which
-- is a rough figure, and 10,000 more: some make them in bursts. Height and time are a node's word or a role's; the owner of this
-- schema may write them as they are.
CREATE OR REPLACE FUNCTION refuse_cursor_ahead() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
BEGIN
    IF caller_acts_as(current_user) THEN
        RETURN NEW;
    END IF;
    SELECT * INTO STRICT rules FROM chains c WHERE c.id = NEW.chain_id;
    IF NEW.block_time > clock_timestamp() + rules.clock_ahead THEN
        RAISE EXCEPTION 'final block % of chain % is of %, and it is % now: more than clock_ahead = %', NEW.block_number,
            rules.name, date_trunc('second', NEW.block_time), date_trunc('second', clock_timestamp()), rules.clock_ahead USING
            ERRCODE = 'FP017',
            HINT = 'Compare the clock of the database server, and the block, with the time. Nothing is settled meanwhile.';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.block_number - OLD.block_number
           > 10000 + 20 * extract(epoch FROM NEW.block_time - OLD.block_time) / extract(epoch FROM rules.block_time) THEN
        RAISE EXCEPTION 'final blocks of chain % are read up to % (%): % (%) is more than it can have grown by',
            rules.name, OLD.block_number, date_trunc('second', OLD.block_time), NEW.block_number,
            date_trunc('second', NEW.block_time) USING
            ERRCODE = 'FP017',
            HINT = 'A node gave a wrong height; or chains.block_time is much too long. Nothing is settled by that height.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER cursors_ahead BEFORE INSERT OR UPDATE ON chain_cursors
FOR EACH ROW EXECUTE FUNCTION refuse_cursor_ahead();

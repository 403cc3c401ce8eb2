-- Bytes that may be out are called dead only once the final blocks have been read past their expiration (EVM, where
-- nothing expires: past the block that was final when they were built): before that they can still land, whoever says
-- otherwise, and would be paid twice if they were signed anew.
--
-- The last word, below the proof that the confirmation worker makes: neither a bug nor a statement at psql can bury early.

CREATE OR REPLACE FUNCTION refuse_early_burial() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    read_up_to chain_cursors;
BEGIN
    SELECT * INTO read_up_to FROM chain_cursors c WHERE c.chain_id = NEW.chain_id AND c.purpose = 'confirmations';
    IF NEW.expiration IS NULL AND (read_up_to.block_number IS NULL OR read_up_to.block_number <= NEW.ref_block) THEN
        RAISE EXCEPTION 'chain_transaction % may still land: it was built at final block %, final blocks are read up to %',
            NEW.id, NEW.ref_block, coalesce(read_up_to.block_number::text, 'none') USING
            ERRCODE = 'FP003',
            HINT = 'The confirmation worker finds out what became of it; see that it runs.';
    END IF;
    IF NEW.expiration IS NOT NULL AND (read_up_to.block_time IS NULL OR read_up_to.block_time < NEW.expiration) THEN
        RAISE EXCEPTION 'chain_transaction % may still land: it expires at %, final blocks are read up to %',
            NEW.id, NEW.expiration, coalesce(read_up_to.block_time::text, 'none') USING
            ERRCODE = 'FP003',
            HINT = 'The confirmation worker finds out what became of it; see that it runs.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER burials BEFORE UPDATE ON chain_transactions
FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state = 'expired')
EXECUTE FUNCTION refuse_early_burial();

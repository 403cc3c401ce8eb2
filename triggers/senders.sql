-- What is proved about a sender only grows: its first nonce is decided once, the count of its final transactions and the block
-- it was read at never go back (nor the time at which an operator released it), and that block is one that the final blocks were read up
-- to. A sender that is
-- to be reconciled notifies transfers: {"reconcile": "bsc"}.

CREATE OR REPLACE FUNCTION check_sender() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT CASE
            WHEN (OLD.chain_id, OLD.sender, OLD.created_at) IS DISTINCT FROM (NEW.chain_id, NEW.sender, NEW.created_at)
            THEN 'it cannot become another one'
            WHEN OLD.first_nonce IS NOT NULL AND NEW.first_nonce IS DISTINCT FROM OLD.first_nonce
            THEN format('its first nonce is %s', OLD.first_nonce)
            WHEN NEW.finalized < OLD.finalized OR coalesce(NEW.final_block, -1) < OLD.final_block
            THEN format('%s of its transactions were final at block %s already', OLD.finalized, OLD.final_block)
            WHEN NEW.released_at < OLD.released_at OR (NEW.released_at IS NULL AND OLD.released_at IS NOT NULL)
            THEN format('an operator released its nonces %s at %s', OLD.released, OLD.released_at)
        END INTO wrong;
    END IF;
    IF wrong IS NULL AND NEW.final_block IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.final_block IS DISTINCT FROM OLD.final_block)
       AND NOT EXISTS (SELECT FROM chain_cursors c
                       WHERE c.chain_id = NEW.chain_id AND c.purpose = 'confirmations' AND c.block_number >= NEW.final_block) THEN
        wrong := format('final blocks are not read up to %s yet', NEW.final_block);
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'sender % refused: %', NEW.sender, wrong USING
            ERRCODE = 'FP004', HINT = 'The proofs of how payments ended depend on it.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION notify_unreconciled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM notify_listeners('transfers', jsonb_build_object('reconcile', c.name)::text) FROM chains c WHERE c.id = NEW.chain_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER senders_checked BEFORE INSERT OR UPDATE ON senders
FOR EACH ROW EXECUTE FUNCTION check_sender();

CREATE OR REPLACE TRIGGER senders_unreconciled AFTER INSERT OR UPDATE ON senders
FOR EACH ROW WHEN (NEW.unknown_below IS NOT NULL) EXECUTE FUNCTION notify_unreconciled();

CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON senders
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON senders
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();

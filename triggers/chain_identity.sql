-- Which network a chain is does not change once a signature was asked for it, or a sender of it was recorded: the gas wallet
-- has one address on all chains of a family, and what is out on one network would be proved dead by the blocks of another,
-- made again, and land after all. And a network is written in one form, so that no two rows are the same one
-- (chains_family_network_id_key): TRON's genesis id in lower case, a chain id without leading zeros.

CREATE OR REPLACE FUNCTION keep_chain_identity() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.network_id := CASE
        WHEN NEW.family = 'evm' AND NEW.network_id ~ '^[0-9]{1,100}$' THEN NEW.network_id::numeric::text
        WHEN NEW.family = 'tron' THEN lower(NEW.network_id)
        ELSE NEW.network_id END;
    IF TG_OP = 'UPDATE' AND (OLD.family, OLD.network_id) IS DISTINCT FROM (NEW.family, NEW.network_id)
       AND (EXISTS (SELECT FROM signing_requests r WHERE r.chain_id = OLD.id)
            OR EXISTS (SELECT FROM chain_transactions a WHERE a.chain_id = OLD.id)
            OR EXISTS (SELECT FROM senders s WHERE s.chain_id = OLD.id)) THEN
        RAISE EXCEPTION 'chain % has payments on network % (%): % (%) is another chain',
            OLD.name, OLD.network_id, OLD.family, NEW.network_id, NEW.family USING
            ERRCODE = 'FP004',
            HINT = 'Give it a row of its own, and set is_active = false on this one.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER chain_identity BEFORE INSERT OR UPDATE OF family, network_id ON chains
FOR EACH ROW EXECUTE FUNCTION keep_chain_identity();

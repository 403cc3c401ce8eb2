-- A job finds its wallet: inserted with nothing but an address, it gets wallet, chain and user from it; an unknown or
-- ambiguous address, a missing one, and an unknown job type are refused with a reason.
--
-- The queue's own inserts name wallet, chain and address, and never come here.

CREATE OR REPLACE FUNCTION find_wallet_of_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wallet wallets;
    matches bigint;
    chain_name text := NEW.data ->> 'chain';
BEGIN
    IF NEW.job_type IS NULL OR NEW.job_type NOT IN ('sync', 'gas-topup', 'consolidation', 'deposit-detection', 'withdrawal') THEN
        RAISE EXCEPTION 'unknown job_type "%"', NEW.job_type USING
            ERRCODE = 'check_violation',
            HINT = 'One of sync, gas-topup, consolidation, deposit-detection, withdrawal.';
    END IF;

    IF NEW.wallet_id IS NULL AND NEW.wallet_address IS NULL THEN
        IF NEW.job_type IN ('gas-topup', 'consolidation', 'withdrawal')
           OR (NEW.job_type = 'sync' AND NEW.status = 'pending') THEN
            RAISE EXCEPTION 'a % job needs a wallet_address', NEW.job_type USING
                ERRCODE = 'not_null_violation',
                HINT = 'Addresses are in user_wallets.address.';
        END IF;
        RETURN NEW;
    END IF;

    SELECT count(*) INTO matches
    FROM wallets w JOIN chains c ON c.id = w.chain_id
    WHERE (w.id = NEW.wallet_id OR (NEW.wallet_id IS NULL AND w.address = NEW.wallet_address))
      AND (NEW.chain_id IS NULL OR w.chain_id = NEW.chain_id)
      AND (chain_name IS NULL OR c.name = chain_name);
    SELECT w.* INTO wallet
    FROM wallets w JOIN chains c ON c.id = w.chain_id
    WHERE (w.id = NEW.wallet_id OR (NEW.wallet_id IS NULL AND w.address = NEW.wallet_address))
      AND (NEW.chain_id IS NULL OR w.chain_id = NEW.chain_id)
      AND (chain_name IS NULL OR c.name = chain_name)
    LIMIT 1;

    IF matches = 0 THEN
        RAISE EXCEPTION 'there is no wallet % for job %',
            coalesce(format('with the address "%s"', NEW.wallet_address), NEW.wallet_id::text)
            || coalesce(' on ' || chain_name, ''), NEW.job_id USING
            ERRCODE = 'foreign_key_violation',
            HINT = 'Known wallets are in user_wallets; add one with INSERT INTO user_wallets (address, network) VALUES (…).';
    ELSIF matches > 1 THEN
        RAISE EXCEPTION 'the address "%" is a wallet on several chains', NEW.wallet_address USING
            ERRCODE = 'cardinality_violation',
            HINT = 'Say which: set chain_id, or data to {"chain": "tron"}.';
    END IF;

    NEW.wallet_id := wallet.id;
    NEW.chain_id := wallet.chain_id;
    NEW.wallet_address := coalesce(NEW.wallet_address, wallet.address);
    NEW.user_id := coalesce(NEW.user_id, wallet.user_id);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER job_wallets BEFORE INSERT ON job_logs
FOR EACH ROW WHEN (NEW.wallet_id IS NULL OR NEW.wallet_address IS NULL OR NEW.chain_id IS NULL)
EXECUTE FUNCTION find_wallet_of_job();

-- No gas goes to a wallet that is frozen as a sender (EVM): somebody else has its key, or a contract acts for it (EIP-7702), and
-- would take what it is given. That lasts until an operator releases it (release_sender). Payments found on the chain are recorded all the same.

CREATE OR REPLACE FUNCTION refuse_gas_for_frozen_wallet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    receiver senders;
BEGIN
    SELECT * INTO receiver FROM senders s
    WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.to_address AND s.frozen IS NOT NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'no gas goes to wallet %, which has been frozen since %: %',
            receiver.sender, date_trunc('second', receiver.frozen_since), receiver.frozen USING
            ERRCODE = 'FP012',
            HINT = 'Find out who has its key; then: flagpost senders release CHAIN SENDER';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER gas_for_frozen_wallets BEFORE INSERT ON transfers
FOR EACH ROW WHEN (NEW.kind = 'gas' AND NOT NEW.found_on_chain)
EXECUTE FUNCTION refuse_gas_for_frozen_wallet();

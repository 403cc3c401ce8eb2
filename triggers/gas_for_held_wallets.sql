-- No gas goes to a wallet that is held as a sender (EVM): somebody else has its key, or a contract acts for it (EIP-7702), and
-- what it is given is theirs. Until a person has released it (release_sender). What was found on the chain has happened.

CREATE OR REPLACE FUNCTION refuse_gas_for_held_wallet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    receiver senders;
BEGIN
    SELECT * INTO receiver FROM senders s
    WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.to_address AND s.held IS NOT NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'no gas goes to wallet %, which is held since %: %',
            receiver.sender, date_trunc('second', receiver.held_since), receiver.held USING
            ERRCODE = 'FP012',
            HINT = 'Find out who has its key; then: SELECT release_sender(chain, sender).';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER gas_for_held_wallets BEFORE INSERT ON transfers
FOR EACH ROW WHEN (NEW.kind = 'gas' AND NOT NEW.found_on_chain)
EXECUTE FUNCTION refuse_gas_for_held_wallet();

-- No gas goes to a wallet that is frozen as a sender (EVM): somebody else has its key, or a contract acts for it (EIP-7702), and
-- would take what it is given. That lasts until an operator releases it (release_sender). Payments found on the chain are recorded all the same.

CREATE OR REPLACE FUNCTION refuse_gas_for_frozen_wallet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    receiver senders;
BEGIN
    SELECT s.* INTO receiver
    FROM senders s
    WHERE s.frozen IS NOT NULL
      AND EXISTS (SELECT FROM new_rows n
                  WHERE n.kind = 'gas' AND NOT n.found_on_chain AND n.chain_id = s.chain_id AND n.to_address = s.sender)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no gas goes to wallet %, which has been frozen since %: %',
            receiver.sender, date_trunc('second', receiver.frozen_since), receiver.frozen USING
            ERRCODE = 'FP012',
            HINT = 'Find out who has its key; then: flagpost senders release CHAIN SENDER';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER gas_for_frozen_wallets AFTER INSERT ON transfers
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_gas_for_frozen_wallet();

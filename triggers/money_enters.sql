-- A payment enters the books only at the beginning of its way, and only if its parts belong together: transfers as
-- requested, signed attempts as signed; job, wallet and asset of one chain; gas is the native coin sent to the
-- wallet, a consolidation is a token sent from it, a gap a coin to its own sender. While an attempt of a payment may land,
-- another one enters only with its nonce. An attempt with a nonce has the one that is reserved for its payment, and that no
-- other payment ever signed with; a gap fills what was given up unsent. When it entered is taken from the clock, not from
-- the writer.

CREATE OR REPLACE FUNCTION check_new_transfer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    NEW.created_at := clock_timestamp();
    IF NOT EXISTS (SELECT FROM state_transitions t
                   WHERE t.subject = 'transfer' AND t.from_state = '(new)' AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'a transfer cannot be inserted as %', NEW.state USING
            ERRCODE = 'FP003', HINT = 'It begins as requested.';
    END IF;

    SELECT CASE
        WHEN NEW.kind = 'gap' AND a.contract_address IS NOT NULL THEN format('a gap is filled with the native coin, not %s', a.symbol)
        WHEN NEW.kind = 'gap' AND a.chain_id <> NEW.chain_id THEN format('asset %s is not on chain %s', a.symbol, NEW.chain_id)
        WHEN j.id IS NULL OR w.id IS NULL OR a.id IS NULL THEN NULL -- said by the foreign keys
        WHEN j.wallet_id IS DISTINCT FROM NEW.wallet_id THEN format('job %s is not of wallet %s', j.job_id, w.address)
        WHEN w.chain_id <> NEW.chain_id THEN format('wallet %s is not on chain %s', w.address, NEW.chain_id)
        WHEN a.chain_id <> NEW.chain_id THEN format('asset %s is not on chain %s', a.symbol, NEW.chain_id)
        WHEN NEW.kind = 'gas' AND a.contract_address IS NOT NULL THEN format('gas is the native coin, not %s', a.symbol)
        WHEN NEW.kind = 'gas' AND NEW.to_address <> w.address THEN
            format('gas for wallet %s cannot go to %s', w.address, NEW.to_address)
        WHEN NEW.kind = 'consolidation' AND a.contract_address IS NULL THEN format('%s is not a token', a.symbol)
        WHEN NEW.kind = 'consolidation' AND NEW.from_address <> w.address THEN
            format('wallet %s cannot be consolidated from %s', w.address, NEW.from_address)
    END INTO wrong
    FROM (SELECT 1) AS here
    LEFT JOIN job_logs j ON j.id = NEW.job_id
    LEFT JOIN wallets w ON w.id = NEW.wallet_id
    LEFT JOIN asset_on_chain a ON a.id = NEW.asset_on_chain_id;

    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'transfer % refused: %', NEW.idempotency_key, wrong USING ERRCODE = 'FP004';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION check_new_chain_transaction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.created_at := clock_timestamp();
    IF NOT EXISTS (SELECT FROM state_transitions t
                   WHERE t.subject = 'chain_transaction' AND t.from_state = '(new)' AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'a chain transaction cannot be inserted as %', NEW.state USING
            ERRCODE = 'FP003', HINT = 'It begins as signed.';
    END IF;
    IF EXISTS (SELECT FROM transfers t WHERE t.id = NEW.transfer_id
               AND (t.chain_id <> NEW.chain_id OR (t.kind = 'consolidation' AND t.from_address <> NEW.sender))) THEN
        RAISE EXCEPTION 'transaction % does not belong to transfer %: another chain or sender', NEW.txid, NEW.transfer_id USING
            ERRCODE = 'FP004';
    END IF;
    IF (NEW.nonce IS NOT NULL) <> (SELECT c.family = 'evm' FROM chains c WHERE c.id = NEW.chain_id) THEN
        RAISE EXCEPTION 'transaction % of transfer %: a nonce is for EVM chains, and needed there', NEW.txid, NEW.transfer_id USING
            ERRCODE = 'FP004';
    END IF;
    IF EXISTS (SELECT FROM chain_transactions a
               WHERE a.transfer_id = NEW.transfer_id AND a.state IN ('signed', 'broadcasting', 'included', 'final')
                 AND (NEW.nonce IS NULL OR (a.nonce, a.sender) IS DISTINCT FROM (NEW.nonce, NEW.sender))) THEN
        RAISE EXCEPTION 'transaction % of transfer %: another live attempt has %', NEW.txid, NEW.transfer_id,
            CASE WHEN NEW.nonce IS NULL THEN 'no end yet' ELSE 'another nonce' END USING
            ERRCODE = 'FP004', HINT = 'Two of them could both land.';
    END IF;
    IF NEW.nonce IS NOT NULL THEN
        -- Locked, so that nobody gives the nonce away at this moment.
        PERFORM FROM nonces x
        WHERE x.chain_id = NEW.chain_id AND x.sender = NEW.sender AND x.nonce = NEW.nonce
          AND x.transfer_id = NEW.transfer_id AND x.state = 'reserved'
        FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'transaction % of transfer %: nonce % of % is not reserved for it',
                NEW.txid, NEW.transfer_id, NEW.nonce, NEW.sender USING ERRCODE = 'FP004';
        END IF;
        IF EXISTS (SELECT FROM chain_transactions a
                   WHERE a.chain_id = NEW.chain_id AND a.sender = NEW.sender AND a.nonce = NEW.nonce
                     AND a.transfer_id <> NEW.transfer_id
                     AND NOT (a.state = 'rejected' AND EXISTS (
                         SELECT FROM transfers t WHERE t.id = NEW.transfer_id AND t.kind = 'gap'))) THEN
            RAISE EXCEPTION 'transaction % of transfer %: another payment was signed with nonce % of %',
                NEW.txid, NEW.transfer_id, NEW.nonce, NEW.sender USING
                ERRCODE = 'FP004', HINT = 'A nonce belongs to one payment; a gap fills what was never sent.';
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON transfers
FOR EACH ROW EXECUTE FUNCTION check_new_transfer();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON chain_transactions
FOR EACH ROW EXECUTE FUNCTION check_new_chain_transaction();

-- A payment is inserted only at the beginning of its way, and only if its parts belong together: transfers as
-- requested; job, wallet and asset of one chain; gas is the native coin sent to the wallet, a consolidation is a token sent from
-- it, a gap a coin to its own sender. One that names no bundle gets one of its own; nothing joins a bundle for which a signature
-- was asked.
--
-- A signature is asked for only for payments that are requested, with a nonce that is reserved for their bundle and that no other
-- one ever signed with, and within chains.fee_max; while an attempt of theirs may land, only with its nonce. Bytes enter only in
-- the commit in which their request is signed, exactly as it was asked, and with their payments on their way: none are kept and held
-- back, nobody can give them up as unsent, and no request is signed without them. What was found on the chain enters as included,
-- with the record that it is final, and has no bytes. When it entered is taken from the clock, not from the writer.
--
-- That a request was never signed is only what a signer says: where it was refused, the wallet's next payment of that asset waits
-- until its bytes could not land any more (FP007): the final blocks are read past their expiration, or their nonce is settled.

-- Why a wallet's next payment of an asset has to wait: a request of an earlier one was refused, and what it asked for could still
-- land if it had been signed. NULL: it need not.
CREATE OR REPLACE FUNCTION may_have_been_signed(p_chain_id integer, p_wallet_id uuid, p_asset_id uuid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT format('a signature for transfer %s was refused, and its nonce %s of %s is %s', t.id, open.nonce, open.sender, open.state)
    FROM (
        SELECT x.sender, x.nonce, x.state FROM nonces x WHERE x.chain_id = p_chain_id AND x.state = 'void'
        UNION ALL
        SELECT x.sender, x.nonce, x.state
        FROM transfers gap
        JOIN nonces x ON x.bundle_id = gap.bundle_id AND x.state = 'reserved'
        WHERE gap.chain_id = p_chain_id AND gap.kind = 'gap' AND gap.state NOT IN ('final', 'reverted', 'rejected')
    ) open
    JOIN signing_requests r ON r.chain_id = p_chain_id AND r.sender = open.sender AND r.nonce = open.nonce AND r.state = 'refused'
    JOIN transfers t ON t.bundle_id = r.bundle_id
    WHERE t.wallet_id = p_wallet_id AND t.asset_on_chain_id = p_asset_id
    UNION ALL
    SELECT format('a signature for transfer %s was refused, and what it asked for expires at %s', t.id, r.expiration)
    FROM signing_requests r
    JOIN transfers t ON t.bundle_id = r.bundle_id
    WHERE r.chain_id = p_chain_id AND r.state = 'refused' AND r.nonce IS NULL AND r.updated_at > now() - interval '1 day'
      AND t.wallet_id = p_wallet_id AND t.asset_on_chain_id = p_asset_id
      AND (r.expiration <= (SELECT c.block_time FROM chain_cursors c
                            WHERE c.chain_id = p_chain_id AND c.purpose = 'confirmations')) IS NOT TRUE
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION check_new_transfer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    NEW.created_at := clock_timestamp();
    IF NEW.bundle_id IS NULL THEN
        INSERT INTO bundles (chain_id, sender) VALUES (NEW.chain_id, NEW.from_address) RETURNING id INTO NEW.bundle_id;
    ELSE
        -- Whoever asks for its signature at this moment is waited for, and waits (check_new_signing_request).
        PERFORM FROM bundles b WHERE b.id = NEW.bundle_id FOR NO KEY UPDATE;
        IF EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = NEW.bundle_id)
           OR EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = NEW.bundle_id) THEN
            RAISE EXCEPTION 'transfer % refused: a signature was asked for bundle % already', NEW.idempotency_key, NEW.bundle_id USING
                ERRCODE = 'FP004', HINT = 'What its transaction carries does not change any more.';
        END IF;
    END IF;
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
    wrong := may_have_been_signed(NEW.chain_id, NEW.wallet_id, NEW.asset_on_chain_id);
    IF wrong IS NOT NULL AND NOT NEW.found_on_chain THEN
        RAISE EXCEPTION 'transfer % has to wait: %', NEW.idempotency_key, wrong USING
            ERRCODE = 'FP007',
            HINT = 'confirmations reads the blocks, gas-topup and consolidation fill gaps; check that they run: flagpost doctor';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION check_new_signing_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    NEW.created_at := clock_timestamp();
    IF NEW.state <> 'asked' THEN
        RAISE EXCEPTION 'a signing request cannot be inserted as %', NEW.state USING ERRCODE = 'FP003', HINT = 'It begins as asked.';
    END IF;
    PERFORM FROM bundles b WHERE b.id = NEW.bundle_id FOR NO KEY UPDATE;
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM transfers t WHERE t.bundle_id = NEW.bundle_id) THEN 'there is no payment in it'
        WHEN NEW.replaces IS NULL AND EXISTS (
            SELECT FROM transfers t WHERE t.bundle_id = NEW.bundle_id AND (t.state <> 'requested' OR t.found_on_chain))
        THEN 'not all of its payments are requested'
        WHEN NEW.replaces IS NOT NULL AND EXISTS (
            SELECT FROM transfers t WHERE t.bundle_id = NEW.bundle_id AND (t.state <> 'broadcasting' OR t.found_on_chain))
        THEN 'not all of its payments are broadcasting'
        WHEN NEW.replaces IS NOT NULL AND NOT EXISTS (
            SELECT FROM chain_transactions a WHERE a.id = NEW.replaces AND a.bundle_id = NEW.bundle_id AND a.nonce = NEW.nonce)
        THEN 'what it replaces has another nonce, or is of another bundle'
        WHEN NEW.fee_cap > c.fee_max THEN format('it could cost %s, more than chains.fee_max', NEW.fee_cap)
        WHEN (NEW.nonce IS NOT NULL) <> (c.family = 'evm') THEN 'a nonce is for EVM chains, and needed there'
    END INTO wrong
    FROM chains c WHERE c.id = NEW.chain_id;
    IF wrong IS NULL THEN
        SELECT format('another live attempt has %s', CASE WHEN NEW.nonce IS NULL THEN 'no end yet' ELSE 'another nonce' END) INTO wrong
        FROM chain_transactions a
        WHERE a.bundle_id = NEW.bundle_id AND a.state IN ('broadcasting', 'included', 'final')
          AND (NEW.nonce IS NULL OR a.nonce IS DISTINCT FROM NEW.nonce)
        LIMIT 1;
    END IF;
    IF wrong IS NULL AND NEW.nonce IS NOT NULL THEN
        -- Locked, so that nobody gives the nonce away at this moment.
        PERFORM FROM nonces x
        WHERE x.chain_id = NEW.chain_id AND x.sender = NEW.sender AND x.nonce = NEW.nonce
          AND x.bundle_id = NEW.bundle_id AND x.state = 'reserved'
        FOR SHARE;
        IF NOT FOUND THEN
            wrong := format('nonce %s of %s is not reserved for it', NEW.nonce, NEW.sender);
        ELSE
            SELECT format('another bundle was signed with nonce %s of %s', NEW.nonce, NEW.sender) INTO wrong
            FROM signing_requests r
            WHERE r.chain_id = NEW.chain_id AND r.sender = NEW.sender AND r.nonce = NEW.nonce AND r.bundle_id <> NEW.bundle_id
              AND r.state <> 'refused'
            LIMIT 1;
        END IF;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'no signature is asked for bundle %: %', NEW.bundle_id, wrong USING
            ERRCODE = 'FP004',
            HINT = CASE WHEN wrong LIKE '%fee_max' THEN 'Raise chains.fee_max if this is meant to be.'
                        WHEN wrong LIKE 'another%' THEN 'Two of them could both land.'
                        ELSE 'A signature is asked for in the commit that writes its payments.' END;
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
    IF NEW.found_on_chain <> (NEW.state = 'included') OR NOT EXISTS (
        SELECT FROM state_transitions t
        WHERE t.subject = 'chain_transaction' AND t.from_state = '(new)' AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'a chain transaction cannot be inserted as %', NEW.state USING
            ERRCODE = 'FP003', HINT = 'It begins as broadcasting; what was found on the chain, as included.';
    END IF;
    IF NOT NEW.found_on_chain THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (
        SELECT FROM senders s
        JOIN chain_cursors c ON c.chain_id = s.chain_id AND c.purpose = 'confirmations'
        WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.sender AND s.finalized > NEW.nonce
          AND NEW.block_number <= c.block_number) THEN
        RAISE EXCEPTION 'transaction % was not found: nothing on record says that nonce % of % is used in a final block',
            NEW.txid, NEW.nonce, NEW.sender USING
            ERRCODE = 'FP004', HINT = 'The confirmation worker records how many transactions of a sender are final.';
    END IF;
    PERFORM FROM nonces x
    WHERE x.chain_id = NEW.chain_id AND x.sender = NEW.sender AND x.nonce = NEW.nonce
      AND x.bundle_id = NEW.bundle_id AND x.state = 'reserved'
    FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'transaction % of bundle %: nonce % of % is not reserved for it',
            NEW.txid, NEW.bundle_id, NEW.nonce, NEW.sender USING ERRCODE = 'FP004';
    END IF;
    IF EXISTS (SELECT FROM chain_transactions a
               WHERE a.chain_id = NEW.chain_id AND a.sender = NEW.sender AND a.nonce = NEW.nonce
                 AND a.bundle_id <> NEW.bundle_id AND a.state NOT IN ('expired', 'replaced')) THEN
        RAISE EXCEPTION 'transaction % of bundle %: another payment was signed with nonce % of %',
            NEW.txid, NEW.bundle_id, NEW.nonce, NEW.sender USING
            ERRCODE = 'FP004', HINT = 'A nonce belongs to one payment; a gap fills what was given up.';
    END IF;
    RETURN NEW;
END
$$;

-- After the statement, which signs the request, keeps the bytes and hands the payments over.
CREATE OR REPLACE FUNCTION refuse_bytes_alone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    SELECT CASE
        WHEN r.request_id IS NULL OR r.bundle_id <> NEW.bundle_id THEN 'nobody asked for it'
        WHEN r.state <> 'signed' THEN format('its request is %s', r.state)
        WHEN (r.nonce, r.ref_block, r.expiration, r.fee_cap::numeric)
             IS DISTINCT FROM (NEW.nonce, NEW.ref_block, NEW.expiration, NEW.fee_cap::numeric)
        THEN 'it is not what was asked for'
        ELSE (SELECT format('its transfer %s is %s', t.id, t.state) FROM transfers t
              WHERE t.bundle_id = NEW.bundle_id AND t.state NOT IN ('broadcasting', 'included') LIMIT 1)
    END INTO wrong
    FROM (SELECT 1) AS here
    LEFT JOIN signing_requests r ON r.request_id = NEW.request_id;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'transaction % of bundle % is not kept: %', NEW.txid, NEW.bundle_id, wrong USING
            ERRCODE = 'FP003',
            HINT = 'Request, attempt, payments and job pass to the confirmation worker together (sql/queries/payments/send/keep.sql).';
    END IF;
    RETURN NULL;
END
$$;

-- On commit, because a statement may sign requests before it keeps their bytes. One that is signed and has none would be asked
-- for by nobody, and its payments neither sent nor given up.
CREATE OR REPLACE FUNCTION refuse_signed_without_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM chain_transactions a WHERE a.request_id = NEW.request_id) THEN
        RAISE EXCEPTION 'signing request % cannot become signed: no bytes are kept for it', NEW.request_id USING
            ERRCODE = 'FP003',
            HINT = 'Request, attempt, payments and job pass to the confirmation worker together (sql/queries/payments/send/keep.sql).';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON transfers
FOR EACH ROW EXECUTE FUNCTION check_new_transfer();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON signing_requests
FOR EACH ROW EXECUTE FUNCTION check_new_signing_request();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON chain_transactions
FOR EACH ROW EXECUTE FUNCTION check_new_chain_transaction();

CREATE OR REPLACE TRIGGER money_handed_over AFTER INSERT ON chain_transactions
FOR EACH ROW WHEN (NOT NEW.found_on_chain) EXECUTE FUNCTION refuse_bytes_alone();

DROP TRIGGER IF EXISTS money_bytes_kept ON signing_requests;
CREATE CONSTRAINT TRIGGER money_bytes_kept AFTER UPDATE ON signing_requests
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'signed') EXECUTE FUNCTION refuse_signed_without_bytes();

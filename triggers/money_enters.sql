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
BEGIN
    NEW.created_at := clock_timestamp();
    IF NEW.bundle_id IS NULL THEN
        INSERT INTO bundles (chain_id, sender) VALUES (NEW.chain_id, NEW.from_address) RETURNING id INTO NEW.bundle_id;
        RETURN NEW;
    END IF;
    -- Whoever asks for its signature at this moment is waited for, and waits (check_new_signing_requests).
    PERFORM FROM bundles b WHERE b.id = NEW.bundle_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = NEW.bundle_id)
       OR EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = NEW.bundle_id) THEN
        RAISE EXCEPTION 'transfer % refused: a signature was asked for bundle % already', NEW.idempotency_key, NEW.bundle_id USING
            ERRCODE = 'FP004', HINT = 'What its transaction carries does not change any more.';
    END IF;
    RETURN NEW;
END
$$;

-- OFFSET 0 here and below: each row is looked at by key, whatever the statistics were when the plan was made.
CREATE OR REPLACE FUNCTION check_new_transfers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    bad record;
BEGIN
    SELECT n.state INTO bad FROM new_rows n
    WHERE NOT EXISTS (SELECT FROM state_transitions t
                      WHERE t.subject = 'transfer' AND t.from_state = '(new)' AND t.to_state = n.state)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a transfer cannot be inserted as %', bad.state USING ERRCODE = 'FP003', HINT = 'It begins as requested.';
    END IF;

    SELECT entered.* INTO bad
    FROM (
        SELECT n.id, n.idempotency_key, CASE
            WHEN n.kind = 'gap' AND a.contract_address IS NOT NULL THEN format('a gap is filled with the native coin, not %s', a.symbol)
            WHEN n.kind = 'gap' AND a.chain_id <> n.chain_id THEN format('asset %s is not on chain %s', a.symbol, n.chain_id)
            WHEN j.id IS NULL OR w.id IS NULL OR a.id IS NULL THEN NULL -- said by the foreign keys
            WHEN j.wallet_id IS DISTINCT FROM n.wallet_id THEN format('job %s is not of wallet %s', j.job_id, w.address)
            WHEN w.chain_id <> n.chain_id THEN format('wallet %s is not on chain %s', w.address, n.chain_id)
            WHEN a.chain_id <> n.chain_id THEN format('asset %s is not on chain %s', a.symbol, n.chain_id)
            WHEN n.kind = 'gas' AND a.contract_address IS NOT NULL THEN format('gas is the native coin, not %s', a.symbol)
            WHEN n.kind = 'gas' AND n.to_address <> w.address THEN
                format('gas for wallet %s cannot go to %s', w.address, n.to_address)
            WHEN n.kind = 'consolidation' AND a.contract_address IS NULL THEN format('%s is not a token', a.symbol)
            WHEN n.kind = 'consolidation' AND n.from_address <> w.address THEN
                format('wallet %s cannot be consolidated from %s', w.address, n.from_address)
        END AS wrong
        FROM new_rows n
        LEFT JOIN LATERAL (SELECT * FROM job_logs x WHERE x.id = n.job_id OFFSET 0) j ON true
        LEFT JOIN LATERAL (SELECT * FROM wallets x WHERE x.id = n.wallet_id OFFSET 0) w ON true
        LEFT JOIN LATERAL (SELECT * FROM asset_on_chain x WHERE x.id = n.asset_on_chain_id OFFSET 0) a ON true
    ) entered
    WHERE entered.wrong IS NOT NULL
    ORDER BY entered.id
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % refused: %', bad.idempotency_key, bad.wrong USING ERRCODE = 'FP004';
    END IF;

    -- Where nothing was refused lately no row has to be asked one by one.
    IF EXISTS (
        SELECT FROM chains c
        WHERE c.id = ANY (ARRAY(SELECT DISTINCT n.chain_id FROM new_rows n WHERE NOT n.found_on_chain))
          AND (EXISTS (SELECT FROM signing_requests r
                       WHERE r.chain_id = c.id AND r.state = 'refused' AND r.updated_at > now() - interval '1 day')
               OR EXISTS (SELECT FROM nonces x WHERE x.chain_id = c.id AND x.state = 'void')
               OR EXISTS (SELECT FROM transfers gap WHERE gap.chain_id = c.id AND gap.kind = 'gap'
                            AND gap.state NOT IN ('final', 'reverted', 'rejected')))
    ) THEN
        SELECT n.idempotency_key, why.text AS wrong INTO bad
        FROM new_rows n
        CROSS JOIN LATERAL (SELECT may_have_been_signed(n.chain_id, n.wallet_id, n.asset_on_chain_id) AS text OFFSET 0) why
        WHERE NOT n.found_on_chain AND why.text IS NOT NULL
        ORDER BY n.id
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transfer % has to wait: %', bad.idempotency_key, bad.wrong USING
                ERRCODE = 'FP007',
                HINT = 'confirmations reads the blocks, gas-topup and consolidation fill gaps; check that they run: flagpost doctor';
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION check_new_signing_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.created_at := clock_timestamp();
    IF NEW.state <> 'asked' THEN
        RAISE EXCEPTION 'a signing request cannot be inserted as %', NEW.state USING ERRCODE = 'FP003', HINT = 'It begins as asked.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION check_new_signing_requests() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    of_bundles bigint[] := ARRAY(SELECT n.bundle_id FROM new_rows n);
    bad record;
BEGIN
    -- Locked, so that nothing joins a bundle at this moment, and nobody gives a nonce away.
    PERFORM FROM bundles b WHERE b.id = ANY (of_bundles) ORDER BY b.id FOR NO KEY UPDATE;
    PERFORM FROM nonces x WHERE x.bundle_id = ANY (of_bundles) AND x.state = 'reserved' ORDER BY x.id FOR SHARE;

    SELECT entered.* INTO bad
    FROM (
        SELECT n.bundle_id, n.created_at, CASE
            WHEN p.payments = 0 THEN 'there is no payment in it'
            WHEN n.replaces IS NULL AND NOT p.are_requested THEN 'not all of its payments are requested'
            WHEN n.replaces IS NOT NULL AND NOT p.are_broadcasting THEN 'not all of its payments are broadcasting'
            WHEN n.replaces IS NOT NULL AND NOT EXISTS (
                SELECT FROM chain_transactions a WHERE a.id = n.replaces AND a.bundle_id = n.bundle_id AND a.nonce = n.nonce)
            THEN 'what it replaces has another nonce, or is of another bundle'
            WHEN n.fee_cap > c.fee_max THEN format('it could cost %s, more than chains.fee_max', n.fee_cap)
            WHEN (n.nonce IS NOT NULL) <> (c.family = 'evm') THEN 'a nonce is for EVM chains, and needed there'
            WHEN EXISTS (SELECT FROM chain_transactions a
                         WHERE a.bundle_id = n.bundle_id AND a.state IN ('broadcasting', 'included', 'final')
                           AND (n.nonce IS NULL OR a.nonce IS DISTINCT FROM n.nonce))
            THEN format('another live attempt has %s', CASE WHEN n.nonce IS NULL THEN 'no end yet' ELSE 'another nonce' END)
            WHEN n.nonce IS NULL THEN NULL
            WHEN NOT EXISTS (SELECT FROM nonces x
                             WHERE x.chain_id = n.chain_id AND x.sender = n.sender AND x.nonce = n.nonce
                               AND x.bundle_id = n.bundle_id AND x.state = 'reserved')
            THEN format('nonce %s of %s is not reserved for it', n.nonce, n.sender)
            WHEN EXISTS (SELECT FROM signing_requests r
                         WHERE r.chain_id = n.chain_id AND r.sender = n.sender AND r.nonce = n.nonce AND r.bundle_id <> n.bundle_id
                           AND r.state = 'asked')
              OR EXISTS (SELECT FROM chain_transactions a
                         WHERE a.chain_id = n.chain_id AND a.sender = n.sender AND a.nonce = n.nonce AND a.bundle_id <> n.bundle_id
                           AND a.request_id IS NOT NULL)
            THEN format('another bundle was signed with nonce %s of %s', n.nonce, n.sender)
        END AS wrong
        FROM new_rows n
        JOIN chains c ON c.id = n.chain_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS payments,
                   bool_and(t.state = 'requested' AND NOT t.found_on_chain) AS are_requested,
                   bool_and(t.state = 'broadcasting' AND NOT t.found_on_chain) AS are_broadcasting
            FROM transfers t WHERE t.bundle_id = n.bundle_id OFFSET 0
        ) p
    ) entered
    WHERE entered.wrong IS NOT NULL
    ORDER BY entered.created_at
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no signature is asked for bundle %: %', bad.bundle_id, bad.wrong USING
            ERRCODE = 'FP004',
            HINT = CASE WHEN bad.wrong LIKE '%fee_max' THEN 'Raise chains.fee_max if this is meant to be.'
                        WHEN bad.wrong LIKE 'another%' THEN 'Two of them could both land.'
                        ELSE 'A signature is asked for in the commit that writes its payments.' END;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION check_new_chain_transaction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.created_at := clock_timestamp();
    IF NEW.found_on_chain <> (NEW.state = 'included') OR NEW.state NOT IN ('broadcasting', 'included') THEN
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

-- After the statement, which signs the requests, keeps the bytes and hands the payments over.
CREATE OR REPLACE FUNCTION refuse_bytes_alone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    bad record;
BEGIN
    SELECT entered.* INTO bad
    FROM (
        SELECT n.id, n.txid, n.bundle_id, CASE
            WHEN r.request_id IS NULL OR r.bundle_id <> n.bundle_id THEN 'nobody asked for it'
            WHEN r.state <> 'signed' THEN format('its request is %s', r.state)
            WHEN (r.nonce, r.ref_block, r.expiration, r.fee_cap::numeric)
                 IS DISTINCT FROM (n.nonce, n.ref_block, n.expiration, n.fee_cap::numeric)
            THEN 'it is not what was asked for'
            ELSE (SELECT format('its transfer %s is %s', t.id, t.state) FROM transfers t
                  WHERE t.bundle_id = n.bundle_id AND t.state NOT IN ('broadcasting', 'included') LIMIT 1)
        END AS wrong
        FROM new_rows n
        LEFT JOIN LATERAL (SELECT * FROM signing_requests s WHERE s.request_id = n.request_id OFFSET 0) r ON true
        WHERE NOT n.found_on_chain
    ) entered
    WHERE entered.wrong IS NOT NULL
    ORDER BY entered.id
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transaction % of bundle % is not kept: %', bad.txid, bad.bundle_id, bad.wrong USING
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

-- Named so that they come before what counts the budgets.
CREATE OR REPLACE TRIGGER entry_checked AFTER INSERT ON transfers
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_new_transfers();

CREATE OR REPLACE TRIGGER entry_checked AFTER INSERT ON signing_requests
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION check_new_signing_requests();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON signing_requests
FOR EACH ROW EXECUTE FUNCTION check_new_signing_request();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON chain_transactions
FOR EACH ROW EXECUTE FUNCTION check_new_chain_transaction();

CREATE OR REPLACE TRIGGER money_handed_over AFTER INSERT ON chain_transactions
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_bytes_alone();

DROP TRIGGER IF EXISTS money_bytes_kept ON signing_requests;
CREATE CONSTRAINT TRIGGER money_bytes_kept AFTER UPDATE ON signing_requests
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'signed') EXECUTE FUNCTION refuse_signed_without_bytes();

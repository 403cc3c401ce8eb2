-- A payment enters the books only at the beginning of its way, and only if its parts belong together: transfers as
-- requested, signed attempts as signed; job, wallet and asset of one chain; gas is the native coin sent to the
-- wallet, a consolidation is a token sent from it, a gap a coin to its own sender. While an attempt of a payment may land,
-- another one enters only with its nonce. An attempt with a nonce has the one that is reserved for its payment, and that no
-- other payment ever signed with; it never expires, and so it is handed over in the commit that keeps it, and nobody can give it
-- up as unsent. No attempt may cost more than chains.fee_max. What was found on the chain enters as included, with the record
-- that it is final, and has no bytes. When it entered is taken from the clock, not from the writer.
--
-- That bytes never left is only what the books say, and a database can lose commits: where they were given up, the wallet's next
-- payment of that asset waits until they cannot land any more (FP007): the final blocks are read past their expiration, or
-- their nonce is settled (older versions gave up such bytes, too).

-- Why a wallet's next payment of an asset has to wait: bytes of an earlier one that were given up, though they may be out.
-- NULL: it need not.
CREATE OR REPLACE FUNCTION bytes_given_up(p_chain_id integer, p_wallet_id uuid, p_asset_id uuid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT format('bytes of transfer %s were given up and may still land: nonce %s of %s is %s',
                  t.id, open.nonce, open.sender, open.state)
    FROM (
        SELECT x.sender, x.nonce, x.state FROM nonces x WHERE x.chain_id = p_chain_id AND x.state = 'void'
        UNION ALL
        SELECT x.sender, x.nonce, x.state
        FROM transfers gap
        JOIN nonces x ON x.transfer_id = gap.id AND x.state = 'reserved'
        WHERE gap.chain_id = p_chain_id AND gap.kind = 'gap' AND gap.state NOT IN ('final', 'reverted', 'rejected')
    ) open
    JOIN chain_transactions a ON a.chain_id = p_chain_id AND a.sender = open.sender AND a.nonce = open.nonce
    JOIN transfers t ON t.id = a.transfer_id
    WHERE a.state = 'rejected' AND t.wallet_id = p_wallet_id AND t.asset_on_chain_id = p_asset_id
    UNION ALL
    SELECT format('bytes of transfer %s were given up and may still land: they expire at %s', t.id, a.expiration)
    FROM chain_transactions a
    JOIN transfers t ON t.id = a.transfer_id
    WHERE a.chain_id = p_chain_id AND a.state = 'rejected' AND a.nonce IS NULL AND a.updated_at > now() - interval '1 day'
      AND t.wallet_id = p_wallet_id AND t.asset_on_chain_id = p_asset_id
      AND (a.expiration <= (SELECT c.block_time FROM chain_cursors c
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
    wrong := bytes_given_up(NEW.chain_id, NEW.wallet_id, NEW.asset_on_chain_id);
    IF wrong IS NOT NULL AND NOT NEW.found_on_chain THEN
        RAISE EXCEPTION 'transfer % has to wait: %', NEW.idempotency_key, wrong USING
            ERRCODE = 'FP007',
            HINT = 'The confirmation worker reads the blocks, and nonces are filled by who has the keys; see that both run.';
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
            ERRCODE = 'FP003', HINT = 'It begins as signed; what was found on the chain, as included.';
    END IF;
    IF NEW.found_on_chain AND NOT EXISTS (
        SELECT FROM senders s
        JOIN chain_cursors c ON c.chain_id = s.chain_id AND c.purpose = 'confirmations'
        WHERE s.chain_id = NEW.chain_id AND s.sender = NEW.sender AND s.finalized > NEW.nonce
          AND NEW.block_number <= c.block_number) THEN
        RAISE EXCEPTION 'transaction % was not found: nothing on record says that nonce % of % is used in a final block',
            NEW.txid, NEW.nonce, NEW.sender USING
            ERRCODE = 'FP004', HINT = 'The confirmation worker records how many transactions of a sender are final.';
    END IF;
    IF NEW.found_on_chain = false AND EXISTS (
        SELECT FROM transfers t WHERE t.id = NEW.transfer_id AND t.found_on_chain) THEN
        RAISE EXCEPTION 'transaction % refused: transfer % was found on the chain and is signed by nobody',
            NEW.txid, NEW.transfer_id USING ERRCODE = 'FP004';
    END IF;
    IF EXISTS (SELECT FROM transfers t WHERE t.id = NEW.transfer_id
               AND (t.chain_id <> NEW.chain_id OR (t.kind = 'consolidation' AND t.from_address <> NEW.sender))) THEN
        RAISE EXCEPTION 'transaction % does not belong to transfer %: another chain or sender', NEW.txid, NEW.transfer_id USING
            ERRCODE = 'FP004';
    END IF;
    IF NOT NEW.found_on_chain AND EXISTS (
        SELECT FROM chains c WHERE c.id = NEW.chain_id AND c.fee_max < NEW.fee_cap) THEN
        RAISE EXCEPTION 'transaction % of transfer % could cost %, more than chains.fee_max', NEW.txid, NEW.transfer_id, NEW.fee_cap USING
            ERRCODE = 'FP004', HINT = 'Raise chains.fee_max if this is meant to be.';
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
                     AND NOT (a.state IN ('rejected', 'expired', 'replaced') AND NEW.found_on_chain)
                     AND NOT (a.state = 'rejected' AND EXISTS (
                         SELECT FROM transfers t WHERE t.id = NEW.transfer_id AND t.kind = 'gap'))) THEN
            RAISE EXCEPTION 'transaction % of transfer %: another payment was signed with nonce % of %',
                NEW.txid, NEW.transfer_id, NEW.nonce, NEW.sender USING
                ERRCODE = 'FP004', HINT = 'A nonce belongs to one payment; a gap fills what was given up.';
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- On commit, because bytes are kept before they are handed over.
CREATE OR REPLACE FUNCTION refuse_bytes_held_back() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM chain_transactions a WHERE a.id = NEW.id AND a.state IN ('signed', 'rejected')) THEN
        RAISE EXCEPTION 'transaction % of transfer % is kept and not handed over to the confirmation worker',
            NEW.txid, NEW.transfer_id USING
            ERRCODE = 'FP003',
            HINT = 'Bytes with a nonce never expire: sign them and begin the broadcast in one commit.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON transfers
FOR EACH ROW EXECUTE FUNCTION check_new_transfer();

CREATE OR REPLACE TRIGGER money_enters BEFORE INSERT ON chain_transactions
FOR EACH ROW EXECUTE FUNCTION check_new_chain_transaction();

DROP TRIGGER IF EXISTS money_handed_over ON chain_transactions;
CREATE CONSTRAINT TRIGGER money_handed_over AFTER INSERT ON chain_transactions
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.nonce IS NOT NULL AND NEW.state = 'signed') EXECUTE FUNCTION refuse_bytes_held_back();

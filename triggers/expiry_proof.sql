-- Bytes that may be out are called dead only once they cannot land any more, whoever says otherwise: they would be paid
-- twice if they were signed anew. Bytes that expire: once the final blocks have been read past their expiration. Bytes
-- with a nonce, which never expire: as 'replaced' where another attempt with their nonce is in a final block; as 'expired'
-- all of a nonce at once, with the proof on record: what used it instead (nonces.used_by), the final block up to which
-- they were looked for (nonces.lost_at_block), younger than the bytes, and a count of the sender's final transactions
-- (senders.finalized) that is past the nonce.
--
-- The last word, below the proof that the confirmation worker makes: neither a bug nor a statement at psql can expire a payment early.

CREATE OR REPLACE FUNCTION refuse_early_expiry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    read_up_to timestamptz := (
        SELECT c.block_time FROM chain_cursors c WHERE c.chain_id = NEW.chain_id AND c.purpose = 'confirmations');
BEGIN
    IF read_up_to IS NULL OR read_up_to < NEW.expiration THEN
        RAISE EXCEPTION 'chain_transaction % may still land: it expires at %, final blocks are read up to %',
            NEW.id, NEW.expiration, coalesce(read_up_to::text, 'none') USING
            ERRCODE = 'FP003',
            HINT = 'The confirmation worker finds out what became of it; see that it runs.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER expiry_proof BEFORE UPDATE ON chain_transactions
FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state = 'expired' AND NEW.expiration IS NOT NULL)
EXECUTE FUNCTION refuse_early_expiry();

-- After the statement, because settling and expiring write all attempts of a nonce and the proof in one.
CREATE OR REPLACE FUNCTION refuse_unproved_expiry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    moved bigint[] := ARRAY(
        SELECT n.id FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
        WHERE n.state <> o.state AND (n.state = 'replaced' OR (n.state = 'expired' AND n.nonce IS NOT NULL))
    );
    bad record;
BEGIN
    IF cardinality(moved) = 0 THEN
        RETURN NULL;
    END IF;
    SELECT dead.id, reason.text INTO bad
    FROM chain_transactions dead
    LEFT JOIN chain_cursors c ON c.chain_id = dead.chain_id AND c.purpose = 'confirmations'
    CROSS JOIN LATERAL (SELECT CASE
        WHEN dead.state = 'replaced' THEN
            CASE WHEN NOT EXISTS (
                SELECT FROM chain_transactions winner
                WHERE winner.chain_id = dead.chain_id AND winner.sender = dead.sender AND winner.nonce = dead.nonce
                  AND winner.bundle_id = dead.bundle_id AND winner.state IN ('final', 'reverted'))
            THEN 'no other attempt with its nonce is in a final block' END
        WHEN (c.block_number > dead.ref_block AND c.block_time > dead.first_broadcast_at) IS NOT TRUE THEN
            format('it went out at %s, final blocks are read up to %s', dead.first_broadcast_at, coalesce(c.block_time::text, 'none'))
        WHEN NOT EXISTS (
            SELECT FROM nonces x
            JOIN senders s ON s.chain_id = x.chain_id AND s.sender = x.sender
            WHERE x.chain_id = dead.chain_id AND x.sender = dead.sender AND x.nonce = dead.nonce
              AND x.bundle_id = dead.bundle_id
              AND x.lost_at_block > dead.ref_block AND x.lost_at_block <= c.block_number
              AND s.finalized > x.nonce AND s.final_block <= c.block_number
              AND x.used_by <> ALL (ARRAY(
                  SELECT ours.txid FROM chain_transactions ours
                  WHERE ours.chain_id = x.chain_id AND ours.sender = x.sender AND ours.nonce = x.nonce)))
        THEN format('nothing on record says that nonce %s of %s was used without it', dead.nonce, dead.sender)
        WHEN EXISTS (
            SELECT FROM chain_transactions other
            WHERE other.chain_id = dead.chain_id AND other.sender = dead.sender AND other.nonce = dead.nonce
              AND other.state IN ('broadcasting', 'included', 'final', 'reverted'))
        THEN format('another attempt with nonce %s of %s is not dead', dead.nonce, dead.sender)
    END) AS reason (text)
    WHERE dead.id = ANY (moved) AND reason.text IS NOT NULL
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'chain_transaction % may still land: %', bad.id, bad.text USING
            ERRCODE = 'FP003',
            HINT = 'The confirmation worker finds out what became of it; see that it runs.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER expiry_proof_of_nonces AFTER UPDATE ON chain_transactions
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_unproved_expiry();

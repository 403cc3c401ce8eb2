-- Handing out nonces.
--
-- Guarantees: one at a time per chain and sender (advisory lock until commit), so that no two payments ever get the same;
-- a payment that has one keeps it, however often it asks; a nonce goes to nobody else once bytes exist with it.

-- Serializes whoever changes the nonces of a sender; held until commit.
CREATE OR REPLACE FUNCTION lock_sender(p_chain_id integer, p_sender text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT pg_advisory_xact_lock(hashtextextended(format('flagpost: nonces of %s on %s', p_sender, p_chain_id), 0)) $$;

-- The nonce of an unsigned payment: the one it has, else the lowest released, else the next. `p_latest` is how many
-- transactions of the sender the chain counted before this transaction began; a node that is behind does no harm, because
-- what the table knows counts too. NULL: the payment is in no state to be signed.
CREATE OR REPLACE FUNCTION reserve_nonce(p_transfer_id bigint, p_latest bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    payment transfers;
    reserved bigint;
BEGIN
    SELECT * INTO payment FROM transfers t
    WHERE t.id = p_transfer_id AND t.state IN ('requested', 'expired') AND t.kind <> 'gap';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM lock_sender(payment.chain_id, payment.from_address);

    SELECT x.nonce INTO reserved FROM nonces x WHERE x.transfer_id = payment.id AND x.state = 'reserved';
    IF reserved >= p_latest THEN
        RETURN reserved;
    ELSIF reserved IS NOT NULL THEN
        -- Somebody else has used it meanwhile, and nothing was signed with it.
        UPDATE nonces x SET state = 'released' WHERE x.transfer_id = payment.id AND x.state = 'reserved';
    END IF;

    UPDATE nonces x SET state = 'reserved', transfer_id = payment.id
    WHERE x.id = (
        SELECT free.id FROM nonces free
        WHERE free.chain_id = payment.chain_id AND free.sender = payment.from_address
          AND free.state = 'released' AND free.nonce >= p_latest
        ORDER BY free.nonce LIMIT 1)
    RETURNING x.nonce INTO reserved;
    IF FOUND THEN
        RETURN reserved;
    END IF;

    INSERT INTO nonces AS x (chain_id, sender, nonce, transfer_id)
    SELECT payment.chain_id, payment.from_address, greatest(p_latest, max(known.nonce) + 1), payment.id
    FROM nonces known
    WHERE known.chain_id = payment.chain_id AND known.sender = payment.from_address
    RETURNING x.nonce INTO reserved;
    RETURN reserved;
END
$$;

-- Declares the nonces from `p_first` to `p_last` void where no payment of ours has them: the chain waits for them while later
-- ones are out. Returns how many are void that were not.
CREATE OR REPLACE FUNCTION void_nonces(p_chain_id integer, p_sender text, p_first bigint, p_last bigint) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    voided integer;
BEGIN
    PERFORM lock_sender(p_chain_id, p_sender);
    WITH missing AS (
        INSERT INTO nonces (chain_id, sender, nonce, state)
        SELECT p_chain_id, p_sender, n, 'void' FROM generate_series(p_first, p_last) AS n
        ON CONFLICT (chain_id, sender, nonce) DO NOTHING
        RETURNING nonce
    ), free AS (
        UPDATE nonces x SET state = 'void'
        WHERE x.chain_id = p_chain_id AND x.sender = p_sender AND x.nonce BETWEEN p_first AND p_last AND x.state = 'released'
        RETURNING x.nonce
    )
    SELECT (SELECT count(*) FROM missing) + (SELECT count(*) FROM free) INTO voided;
    RETURN voided;
END
$$;

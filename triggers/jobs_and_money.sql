-- A job and its money end together: a job that ends gives up its payments for which no signature is asked, and no job leaves the
-- chain's custody (awaiting_chain) while a payment of it may still land. A payment whose signature is asked for may have been
-- signed: who has the keys asks the signer, and then gives it up or sends it.
--
-- The second is looked at on commit, because settling writes job and payment in one transaction, in any order.

CREATE OR REPLACE FUNCTION reject_unsent_transfers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    unsent bigint[] := ARRAY(
        SELECT t.id FROM transfers t
        WHERE t.state IN ('requested', 'expired') AND t.job_id = ANY (ARRAY(
            SELECT n.id FROM new_rows n
            WHERE n.status IN ('completed', 'failed', 'cancelled')
              AND n.job_type IN ('gas-topup', 'consolidation', 'withdrawal')))
          AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
        ORDER BY t.id
        FOR NO KEY UPDATE
    );
BEGIN
    IF cardinality(unsent) > 0 THEN
        UPDATE transfers t SET state = 'rejected', error_message = coalesce(t.error_message, 'its job ended before it was signed')
        WHERE t.id = ANY (unsent);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION check_chain_custody() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    in_flight text;
BEGIN
    SELECT string_agg(format('transfer %s is %s', t.id, t.state), ', ' ORDER BY t.id) INTO in_flight
    FROM transfers t
    JOIN job_logs j ON j.id = t.job_id
    WHERE j.id = NEW.id AND NOT j.awaiting_chain AND t.state IN ('broadcasting', 'included');
    IF in_flight IS NOT NULL THEN
        RAISE EXCEPTION 'job % waits for the chain and cannot become %: %', NEW.job_id, NEW.status, in_flight USING
            ERRCODE = 'FP003',
            HINT = 'The confirmation worker ends it once the chain has decided: psql -f sql/inspect/money_in_flight.sql.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER jobs_reject_unsent AFTER UPDATE ON job_logs
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION reject_unsent_transfers();

DROP TRIGGER IF EXISTS jobs_chain_custody ON job_logs;
CREATE CONSTRAINT TRIGGER jobs_chain_custody AFTER UPDATE ON job_logs
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (OLD.awaiting_chain AND NOT NEW.awaiting_chain) EXECUTE FUNCTION check_chain_custody();

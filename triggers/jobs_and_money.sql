-- A job and its money end together: no job leaves the chain's custody (awaiting_chain) while a payment of it may still land. That
-- a job which ends gives up its payments for which no signature is asked is in jobs_written.sql.
--
-- Checked on commit, because settling writes job and payment in one transaction, in any order.

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

DROP TRIGGER IF EXISTS jobs_chain_custody ON job_logs;
CREATE CONSTRAINT TRIGGER jobs_chain_custody AFTER UPDATE ON job_logs
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (OLD.awaiting_chain AND NOT NEW.awaiting_chain) EXECUTE FUNCTION check_chain_custody();

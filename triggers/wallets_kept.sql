-- A wallet is not deleted while jobs of it stand in job_history, as it is not while they stand in job_logs (a foreign key there; here it
-- would lock wallets whenever a month is made or dropped). Fires after the foreign keys, which wait for a job that is just moving.

CREATE OR REPLACE FUNCTION refuse_lost_wallet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM job_history h WHERE h.wallet_id = OLD.id) THEN
        RAISE EXCEPTION 'wallet % has jobs in job_history', OLD.address USING ERRCODE = 'foreign_key_violation', TABLE = 'job_history';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER wallets_kept AFTER DELETE ON wallets
FOR EACH ROW EXECUTE FUNCTION refuse_lost_wallet();

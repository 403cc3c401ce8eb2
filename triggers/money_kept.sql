-- Records of money are never deleted, nor truncated.

CREATE OR REPLACE FUNCTION refuse_deleted_money() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted', TG_TABLE_NAME USING
        ERRCODE = 'FP004',
        HINT = 'They are what proves that nothing is paid twice. A payment that must not happen is moved to rejected.';
END
$$;

CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON transfers
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON chain_transactions
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON gas_spending
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON transfers
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON chain_transactions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON gas_spending
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON fees_paid
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON fees_paid
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON bundles
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON bundles
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept BEFORE DELETE ON signing_requests
FOR EACH ROW EXECUTE FUNCTION refuse_deleted_money();
CREATE OR REPLACE TRIGGER money_kept_truncate BEFORE TRUNCATE ON signing_requests
FOR EACH STATEMENT EXECUTE FUNCTION refuse_deleted_money();

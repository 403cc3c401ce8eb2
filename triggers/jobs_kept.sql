-- A job that paid, or was to pay, is never lost: it is deleted only as it moves to job_history, or back to job_logs. While a payment of
-- it is not settled it does not move either: transfers.open_job_id refers to it (a foreign key).

CREATE OR REPLACE FUNCTION refuse_lost_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    lost text;
BEGIN
    -- An older snapshot would not see what was paid, or moved, since.
    IF current_setting('transaction_isolation') <> 'read committed'
       AND EXISTS (SELECT FROM old_rows o WHERE o.job_type IN ('gas-topup', 'consolidation', 'withdrawal')) THEN
        RAISE EXCEPTION 'whether jobs have paid cannot be checked at isolation level %', current_setting('transaction_isolation')
        USING ERRCODE = 'feature_not_supported', HINT = 'Delete jobs at read committed.';
    END IF;
    SELECT o.job_id INTO lost
    FROM old_rows o
    WHERE EXISTS (SELECT FROM transfers t WHERE t.job_id = o.id)
      AND NOT EXISTS (SELECT FROM job_history h WHERE h.id = o.id AND h.completed_at = o.completed_at)
      AND NOT EXISTS (SELECT FROM job_logs j WHERE j.id = o.id)
    LIMIT 1;
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION 'job % has payments and is never deleted', lost USING
            ERRCODE = 'foreign_key_violation',
            HINT = 'It moves to job_history by itself: system_config history.move_after_days.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER jobs_kept AFTER DELETE ON job_logs
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_jobs();
CREATE OR REPLACE TRIGGER jobs_kept AFTER DELETE ON job_history
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_jobs();

-- What stands in job_history does not change, and is not emptied: a month is dropped (sql/functions/history_months.sql).
CREATE OR REPLACE FUNCTION refuse_changed_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'job_history does not change' USING
        ERRCODE = 'FP004', HINT = 'A dead letter runs again by flagpost jobs retry, which moves it back to job_logs.';
END
$$;

CREATE OR REPLACE TRIGGER history_kept BEFORE UPDATE ON job_history
FOR EACH STATEMENT EXECUTE FUNCTION refuse_changed_history();
CREATE OR REPLACE TRIGGER history_kept_truncate BEFORE TRUNCATE ON job_history
FOR EACH STATEMENT EXECUTE FUNCTION refuse_changed_history();

-- A sync job reads its wallet's balances: as it becomes pending they fall due, and it ends with the read of the last of
-- them, completed, or failed with the reason if one could not be read.
--
-- The sync itself knows no jobs and may write none: it reads what is due, and this rule does the rest. Balances of
-- switched-off assets are never read, and so are not waited for.

CREATE OR REPLACE FUNCTION make_due_for_sync_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM make_balances_due(ARRAY[NEW.wallet_id]);
    RETURN NULL;
END
$$;

-- Row by row, because such jobs come one at a time, and because WHEN costs all other jobs nothing.
CREATE OR REPLACE TRIGGER sync_jobs_insert AFTER INSERT ON job_logs
FOR EACH ROW WHEN (NEW.job_type = 'sync' AND NEW.status = 'pending' AND NEW.wallet_id IS NOT NULL)
EXECUTE FUNCTION make_due_for_sync_job();

CREATE OR REPLACE TRIGGER sync_jobs_update AFTER UPDATE ON job_logs
FOR EACH ROW WHEN (NEW.job_type = 'sync' AND NEW.status = 'pending' AND OLD.status <> 'pending'
                   AND NEW.wallet_id IS NOT NULL)
EXECUTE FUNCTION make_due_for_sync_job();

CREATE OR REPLACE FUNCTION end_sync_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    waiting uuid[];
    ended record;
BEGIN
    -- Asked first and by itself: a job of this kind is rare, balances are written all the time.
    waiting := ARRAY(
        SELECT j.wallet_id FROM job_logs j
        WHERE j.job_type = 'sync' AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying'));
    IF waiting = '{}' THEN
        RETURN NULL;
    END IF;

    -- Whoever holds such a job (an operator who cancels it) is not waited for: the next read ends what is left.
    FOR ended IN
        SELECT j.id, j.run_at, read.errors
        FROM job_logs j
        CROSS JOIN LATERAL (
            SELECT bool_and(b.last_checked >= j.run_at AND (b.last_error IS NOT NULL OR NOT b.recheck)) AS all_read,
                   string_agg(a.symbol || ': ' || b.last_error, '; ' ORDER BY a.id) AS errors
            FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
            WHERE b.wallet_id = j.wallet_id AND a.is_active
        ) read
        WHERE j.job_type = 'sync' AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
          AND j.run_at <= now()
          AND j.wallet_id = ANY (ARRAY(SELECT n.wallet_id FROM new_rows n WHERE n.wallet_id = ANY (waiting)))
          AND read.all_read
        ORDER BY j.id
        FOR NO KEY UPDATE OF j SKIP LOCKED
    LOOP
        UPDATE job_logs SET status = 'active', lease = lease + 1, started_at = ended.run_at WHERE id = ended.id;
        UPDATE job_logs SET
            status = CASE WHEN ended.errors IS NULL THEN 'completed' ELSE 'failed' END,
            error_message = ended.errors,
            data = data || jsonb_build_object(
                'outcome', CASE WHEN ended.errors IS NULL THEN 'read' ELSE 'not read' END,
                'duration_ms', round(extract(epoch FROM clock_timestamp() - ended.run_at) * 1000, 3))
        WHERE id = ended.id;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER sync_jobs_end AFTER UPDATE ON wallet_balances
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION end_sync_jobs();

-- Who holds a transaction open for long: for alerts (sql/queries/alerts/transactions_open.sql).

-- Sessions on this database whose transaction has been open for longer than that and holds a snapshot or a lock; and those of logins
-- into which the owner of this schema may not look (pg_read_all_stats), once their snapshot is a million transactions old.
CREATE OR REPLACE FUNCTION old_transactions(longer_than interval)
RETURNS TABLE (pid integer, login name, application text, state text, held text)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT a.pid, a.usename, nullif(a.application_name, ''), coalesce(a.state, 'in a state that only its login sees'),
           CASE WHEN a.xact_start IS NULL THEN format('for %s transactions', age(a.backend_xmin))
                ELSE format('since %s UTC', date_trunc('second', a.xact_start AT TIME ZONE 'UTC')) END
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
      AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
      AND (a.xact_start < clock_timestamp() - longer_than OR (a.xact_start IS NULL AND age(a.backend_xmin) > 1000000))
    ORDER BY a.xact_start NULLS FIRST, a.pid
    LIMIT 10
$$;
REVOKE ALL ON FUNCTION old_transactions(interval) FROM PUBLIC;

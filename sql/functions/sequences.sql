-- Sequences that are behind the rows they number: logical replication and partial restores bring rows and no sequences, and
-- bulk loads bring ids of their own. What is drawn next exists already then: the insert fails.
--
-- Guarantees: a sequence is never moved down; several who compare at once move it once.

-- Each sequence of ours below the highest number in its table: what was drawn last (0: nothing), and that number.
-- Of job_logs.seq, which has no index, the highest of the newest 1,000 jobs and of the months of job_history counts: jobs are numbered
-- as they come.
CREATE OR REPLACE FUNCTION sequences_behind()
RETURNS TABLE (sequence_name text, table_name text, column_name text, last_drawn bigint, highest bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    owned record;
BEGIN
    FOR owned IN
        SELECT d.objid AS sequence_oid, t.relname AS table_name, a.attname AS column_name
        FROM pg_depend d
        JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        JOIN pg_class t ON t.oid = d.refobjid
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
          AND t.relnamespace = 'public'::regnamespace
          AND t.relname IN ('chains', 'job_logs', 'bundles', 'transfers', 'chain_transactions', 'nonces',
                            'job_count_deltas', 'alert_deliveries')
        ORDER BY t.relname, a.attname
    LOOP
        sequence_name := owned.sequence_oid::regclass::text;
        table_name := owned.table_name;
        column_name := owned.column_name;
        IF owned.table_name = 'job_logs' THEN
            SELECT max(newest.seq) INTO highest
            FROM (
                (SELECT j.seq FROM job_logs j ORDER BY j.created_at DESC LIMIT 1000)
                UNION ALL
                SELECT m.highest_seq FROM job_history_months m
            ) newest;
        ELSE
            EXECUTE format('SELECT max(%I) FROM public.%I', owned.column_name, owned.table_name) INTO highest;
        END IF;
        last_drawn := coalesce(pg_sequence_last_value(owned.sequence_oid), 0);
        IF highest > last_drawn THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION sequences_behind() FROM PUBLIC;

-- Moves each of them past its rows; returns them as they were.
CREATE OR REPLACE FUNCTION advance_sequences()
RETURNS TABLE (sequence_name text, table_name text, column_name text, last_drawn bigint, highest bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    behind record;
BEGIN
    IF NOT EXISTS (SELECT FROM sequences_behind()) THEN
        RETURN;
    END IF;
    -- One at a time: who compared before another one moved a sequence, and moved it then, would move it back below what was
    -- drawn meanwhile. The row is nobody's but the owner's to lock.
    PERFORM FROM schema_migrations m WHERE m.version = 1 FOR NO KEY UPDATE;
    FOR behind IN SELECT * FROM sequences_behind() LOOP
        -- By drawing, which is right whoever else draws. Where that would take long, nobody draws so many in that moment.
        IF behind.highest - behind.last_drawn <= 100000 THEN
            PERFORM count(nextval(behind.sequence_name::regclass)) FROM generate_series(behind.last_drawn + 1, behind.highest);
        ELSE
            PERFORM setval(behind.sequence_name::regclass, behind.highest);
        END IF;
        sequence_name := behind.sequence_name;
        table_name := behind.table_name;
        column_name := behind.column_name;
        last_drawn := behind.last_drawn;
        highest := behind.highest;
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION advance_sequences() FROM PUBLIC;

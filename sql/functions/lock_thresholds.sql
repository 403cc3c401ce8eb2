-- No wallet is judged by old thresholds after new ones have been applied to it: whoever judges holds flagpost_locks.thresholds
-- shared, whoever changes thresholds holds it alone, both until commit.
--
-- A lock of a table and not of a row: shared locks of a row write it, make a multixact wherever two of them meet, and let
-- whoever wants it alone wait for ever while they overlap. Nobody else can take this one: the schema is not theirs to name.
-- Raises 55P03 (lock_not_available) after 10 s.
CREATE OR REPLACE FUNCTION lock_thresholds(p_alone boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '10s'
AS $$
BEGIN
    IF p_alone THEN
        LOCK TABLE flagpost_locks.thresholds IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE flagpost_locks.thresholds IN ROW SHARE MODE;
    END IF;
END
$$;

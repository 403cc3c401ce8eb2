-- Payments that may be on their way notify transfers once per statement, by chain: {"tron": 3}. That is when they enter
-- broadcasting, also after their block was forked away.

CREATE OR REPLACE FUNCTION notify_transfers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    counts jsonb;
BEGIN
    SELECT jsonb_object_agg(c.name, entered.transfers) INTO counts
    FROM (
        SELECT e.chain_id, count(*) AS transfers
        FROM (
            SELECT n.id, n.chain_id FROM new_rows n WHERE n.state = 'broadcasting'
            EXCEPT
            SELECT o.id, o.chain_id FROM old_rows o WHERE o.state = 'broadcasting'
        ) e
        GROUP BY e.chain_id
    ) entered
    JOIN chains c ON c.id = entered.chain_id;
    IF counts IS NOT NULL THEN
        PERFORM notify_listeners('transfers', counts::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER transfers_broadcasting AFTER UPDATE ON transfers
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION notify_transfers();

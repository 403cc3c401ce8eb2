-- Of several processes of a type one acts and the others stand by: leadership is a row that its holder renews.
--
-- Guarantees: at most one worker holds a leadership; only the role that the type of the name acts as (worker_types) takes,
-- renews or gives up one, and only names of what there is to lead: 'sweep', or a type and a chain. A holder that is known to
-- be dead is replaced at once, one that has not renewed it once the lease is over. A lease that ends later than its length
-- from now was given by a clock that was wrong, and is not believed. What must not happen twice is guarded by other rows
-- and not by this one: it saves the standby the work.

-- Raises FP015 where the caller may not lead under that name.
CREATE OR REPLACE FUNCTION check_leader(p_name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    kind text := split_part(p_name, ' ', 1);
BEGIN
    IF NOT may_be_worker(kind) THEN
        RAISE EXCEPTION '% may not lead "%"', calling_role(), p_name USING
            ERRCODE = 'FP015',
            HINT = coalesce((SELECT format('Workers of type %s act as %s.', t.type, t.role) FROM worker_types t WHERE t.type = kind),
                            'The types of worker: SELECT * FROM worker_types.');
    END IF;
END
$$;

-- Whether a worker is known to be dead or to have ended (sql/functions/workers.sql); one that nobody knows is not.
CREATE OR REPLACE FUNCTION worker_has_ended(p_worker_id uuid) RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM worker_registry w
        WHERE w.incarnation = p_worker_id
          AND (w.status = 'stopped'
               OR (w.session_lost_at < clock_timestamp() - interval '5 seconds' AND w.incarnation = ANY (dead_workers()))))
$$;

-- Takes the leadership for a worker, or renews it, for p_length (60 s at the most). The number of its lease; NULL: another
-- worker leads, or there is no chain of that name any more. Writes only where something changes: a lease is renewed once a third
-- of it is over.
CREATE OR REPLACE FUNCTION lead(p_name text, p_worker_id uuid, p_length interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
DECLARE
    at_present timestamptz := clock_timestamp();
    led leaderships;
BEGIN
    PERFORM check_leader(p_name);
    p_length := least(p_length, interval '60 seconds');

    SELECT * INTO led FROM leaderships l WHERE l.name = p_name;
    IF led.holder = p_worker_id AND led.until BETWEEN at_present + p_length * 2 / 3 AND at_present + p_length THEN
        RETURN led.lease;
    ELSIF led.holder <> p_worker_id AND is_led(led, at_present) THEN
        RETURN NULL;
    END IF;

    IF p_name LIKE '% %' AND NOT EXISTS (SELECT FROM chains c WHERE c.name = substr(p_name, position(' ' IN p_name) + 1)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO leaderships (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    SELECT * INTO led FROM leaderships l WHERE l.name = p_name FOR UPDATE;
    IF led.holder <> p_worker_id AND is_led(led, at_present) THEN
        RETURN NULL;
    END IF;
    UPDATE leaderships l SET
        lease = CASE WHEN l.holder IS DISTINCT FROM p_worker_id THEN l.lease + 1 ELSE l.lease END,
        taken_at = CASE WHEN l.holder IS DISTINCT FROM p_worker_id THEN at_present ELSE l.taken_at END,
        holder = p_worker_id, length = p_length, until = at_present + p_length, renewed_at = at_present
    WHERE l.name = p_name
    RETURNING l.* INTO led;
    RETURN led.lease;
END
$$;

-- Whether a leadership is somebody's now. A second is granted to clocks that are corrected all the time.
CREATE OR REPLACE FUNCTION is_led(led leaderships, at_present timestamptz) RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(led.holder IS NOT NULL AND led.until > at_present
                    AND led.until <= at_present + led.length + interval '1 second'
                    AND NOT worker_has_ended(led.holder), false)
$$;

-- Gives a leadership up; false: the worker had it no more.
CREATE OR REPLACE FUNCTION stop_leading(p_name text, p_worker_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
AS $$
BEGIN
    PERFORM check_leader(p_name);
    UPDATE leaderships l SET holder = NULL, until = clock_timestamp()
    WHERE l.name = p_name AND l.holder = p_worker_id;
    RETURN FOUND;
END
$$;

-- Leaderships that nobody has had for so long, while there is something to lead: since when, and who had it last. Of a name that
-- never was led nothing is known (`doctor` tells which processes are missing).
CREATE OR REPLACE FUNCTION leaderships_without_leader(longer_than interval)
RETURNS TABLE (name text, since timestamptz, last_holder text)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT l.name, least(l.until, l.renewed_at + l.length), w.name
    FROM leaderships l
    LEFT JOIN worker_registry w ON w.incarnation = l.holder
    LEFT JOIN chains c ON l.name LIKE '% %' AND c.name = substr(l.name, position(' ' IN l.name) + 1)
    WHERE NOT is_led(l, clock_timestamp())
      AND least(l.until, l.renewed_at + l.length) <= clock_timestamp() - longer_than
      AND (l.name NOT LIKE '% %' OR c.is_active
           OR EXISTS (SELECT FROM transfers t WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected')))
    ORDER BY l.name
$$;

-- Forgets leases that nobody has renewed for 30 days: of chains that are gone, of names that no version uses. Returns how many.
CREATE OR REPLACE FUNCTION forget_old_leaderships() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM leaderships l
    WHERE l.until < now() - interval '30 days' AND coalesce(l.renewed_at, l.taken_at, '-infinity') < now() - interval '30 days';
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;
REVOKE ALL ON FUNCTION forget_old_leaderships() FROM PUBLIC;

-- Time and chance of a simulated run inside Postgres: both come from sequences that the simulation sets, so that a run
-- repeated from its seed sees the same times and the same ids.
--
-- Sessions and functions of the simulation look here before they look into pg_catalog, so that now(), clock_timestamp(),
-- random() and gen_random_uuid() of all our SQL are these.

CREATE SCHEMA sim;
GRANT USAGE ON SCHEMA sim TO PUBLIC;

-- Microseconds since 1970.
CREATE UNLOGGED SEQUENCE sim.clock AS bigint;
CREATE UNLOGGED SEQUENCE sim.ids AS bigint;
GRANT USAGE, SELECT ON SEQUENCE sim.clock, sim.ids TO PUBLIC;

CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT timestamptz 'epoch' + nextval('sim.clock') * interval '1 microsecond' $$;

-- The same throughout a transaction, and later than that of every transaction before.
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE plpgsql STABLE
AS $$
DECLARE
    begun text := current_setting('sim.begun', true);
BEGIN
    IF begun IS NULL OR begun = '' THEN
        begun := set_config('sim.begun', nextval('sim.clock')::text, true);
    END IF;
    RETURN timestamptz 'epoch' + begun::bigint * interval '1 microsecond';
END
$$;

CREATE FUNCTION sim.gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE
AS $$ SELECT md5(nextval('sim.ids')::text)::uuid $$;

CREATE FUNCTION sim.random() RETURNS double precision LANGUAGE sql VOLATILE
AS $$ SELECT (hashtextextended('chance', nextval('sim.ids')) & 1048575) / 1048576.0::double precision $$;

DO $$
DECLARE
    ours record;
BEGIN
    FOR ours IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 0
          AND p.proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp']
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = sim, pg_catalog, public, pg_temp', ours.name);
    END LOOP;

    FOR ours IN
        SELECT a.attrelid::regclass AS relation, a.attname AS name,
               CASE WHEN pg_get_expr(d.adbin, d.adrelid) ~ 'gen_random_uuid'
                    THEN 'sim.gen_random_uuid()' || CASE WHEN a.atttypid = 'text'::regtype THEN '::text' ELSE '' END
                    ELSE 'sim.now()' END AS value
        FROM pg_attrdef d
        JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        JOIN pg_class c ON c.oid = d.adrelid
        WHERE c.relnamespace = 'public'::regnamespace AND a.attgenerated = ''
          AND pg_get_expr(d.adbin, d.adrelid) ~ '\m(now|gen_random_uuid)\('
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', ours.relation, ours.name, ours.value);
    END LOOP;
END
$$;

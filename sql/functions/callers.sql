-- Who calls a function that acts with the owner's rights: in there current_user is the owner, whoever calls.

-- The role that the session has taken (SET ROLE), else the one it logged in as.
CREATE OR REPLACE FUNCTION calling_role() RETURNS name
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT CASE WHEN current_setting('role') = 'none' THEN session_user ELSE current_setting('role')::name END $$;

-- Whether it is that role or a member of it. Superusers are members of all roles, and so is the owner of this schema, to whom
-- `flagpost migrate` grants them; a session that has given these rights up by SET ROLE is not.
CREATE OR REPLACE FUNCTION caller_acts_as(p_role name) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT coalesce(pg_has_role(calling_role(), p_role, 'MEMBER'), false) $$;

-- Whether a login can be a worker of ours or the owner.
CREATE OR REPLACE FUNCTION is_worker_login(p_login oid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT coalesce(bool_or(pg_has_role(p_login, t.role, 'MEMBER')), false) FROM worker_types t $$;

-- The sessions of such logins: locks of others mean nothing, because an advisory lock is for whoever may connect. Each login is
-- asked about once, and in arrays: joined, pg_stat_activity was read anew for each lock (300 ms for 100 workers instead of 2).
CREATE OR REPLACE FUNCTION worker_pids() RETURNS integer[]
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT ARRAY(
        SELECT a.pid FROM pg_stat_get_activity(NULL) a
        WHERE a.usesysid = ANY (ARRAY(
            SELECT known.login FROM (SELECT DISTINCT s.usesysid AS login FROM pg_stat_get_activity(NULL) s OFFSET 0) known
            WHERE is_worker_login(known.login))))
$$;

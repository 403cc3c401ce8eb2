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

-- Whether a session with that login (pg_stat_activity.usesysid) can be a worker of ours or the owner: locks of others mean
-- nothing, because an advisory lock is for whoever may connect.
CREATE OR REPLACE FUNCTION is_worker_login(p_login oid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT coalesce(bool_or(pg_has_role(p_login, t.role, 'MEMBER')), false) FROM worker_types t $$;

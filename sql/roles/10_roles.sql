-- The roles of the processes. Each takes its own on connect (SET ROLE), so that what a process may do is decided
-- here and not in its code.
--
-- Guarantees: none of them can log in; whoever migrates may take each of them. Needs CREATEROLE the first time only.
-- Roles belong to the whole server: a second database on it finds them there.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'pipeline_sync', 'pipeline_deposits', 'pipeline_executor', 'pipeline_confirmations', 'pipeline_web', 'pipeline_agent',
        'pipeline_readonly'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL; -- the migration of another database was faster
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % cannot be created by %', role_name, current_user USING
                        ERRCODE = 'insufficient_privilege',
                        HINT = format('Once, as a superuser: ALTER ROLE %I CREATEROLE;'
                                      ' or CREATE ROLE %I NOLOGIN; GRANT %I TO %I WITH ADMIN OPTION;',
                                      current_user, role_name, role_name, current_user);
            END;
        END IF;

        -- Of a superuser pg_has_role says true, and it may SET ROLE anyway. From Postgres 16 on to be a member is not
        -- enough, and who creates a role may grant it but not yet take it.
        IF NOT pg_has_role(current_user, role_name,
                           CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE EXCEPTION '% may not take the role %', current_user, role_name USING
                    ERRCODE = 'insufficient_privilege',
                    HINT = format('Once, as a superuser: GRANT %I TO %I WITH ADMIN OPTION;', role_name, current_user);
            END;
        END IF;
    END LOOP;
END
$$;

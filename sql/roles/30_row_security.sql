-- Row Level Security on every table: what no policy allows, nobody but the owner sees or writes, whatever was granted
-- (on Supabase much is granted to anon by default).
--
-- Guarantees: each table has it; a policy exists for each privilege of sql/roles/20_privileges.sql; cursors are split
-- by purpose. A policy that stands already is not touched, so that migrating a running system locks no table for it.
DO $$
DECLARE
    secured text;
    wanted record;
    stale record;
BEGIN
    FOREACH secured IN ARRAY ARRAY[
        'chains', 'asset_on_chain', 'wallets', 'wallet_balances', 'state_transitions', 'job_logs', 'transfers', 'gas_spending',
        'chain_transactions', 'nonces', 'chain_cursors', 'system_config', 'worker_registry', 'admin_actions'
    ] LOOP
        IF NOT (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = format('public.%I', secured)::regclass) THEN
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', secured);
        END IF;
    END LOOP;

    CREATE TEMPORARY TABLE wanted_policies ON COMMIT DROP AS
    SELECT p.tablename, p.cmd, p.role_name, p.condition,
           format('flagpost_%s_%s', p.role_name, lower(p.cmd)) AS policyname
    FROM (
        SELECT unnest(string_to_array(r.tables, ' ')) AS tablename, r.cmd, r.role_name, r.condition
        FROM (VALUES
            ('wallets wallet_balances chains asset_on_chain system_config', 'SELECT', 'pipeline_sync', 'true'),
            ('wallet_balances', 'UPDATE', 'pipeline_sync', 'true'),

            ('wallets wallet_balances chains asset_on_chain system_config chain_cursors', 'SELECT', 'pipeline_deposits', 'true'),
            ('chain_cursors', 'INSERT', 'pipeline_deposits', '(purpose = ''deposits''::text)'),
            ('chain_cursors', 'UPDATE', 'pipeline_deposits', '(purpose = ''deposits''::text)'),

            ('chains asset_on_chain wallets wallet_balances job_logs state_transitions transfers chain_transactions nonces chain_cursors'
             || ' gas_spending system_config worker_registry admin_actions', 'SELECT', 'pipeline_executor', 'true'),
            ('job_logs transfers chain_transactions nonces', 'INSERT', 'pipeline_executor', 'true'),
            ('job_logs transfers chain_transactions nonces wallets', 'UPDATE', 'pipeline_executor', 'true'),
            ('chain_cursors', 'INSERT', 'pipeline_executor', '(purpose = ''confirmations''::text)'),
            ('chain_cursors', 'UPDATE', 'pipeline_executor', '(purpose = ''confirmations''::text)'),

            ('chains asset_on_chain wallets wallet_balances job_logs state_transitions transfers chain_transactions nonces chain_cursors'
             || ' gas_spending system_config worker_registry admin_actions', 'SELECT', 'pipeline_readonly', 'true'),
            ('chains asset_on_chain wallets wallet_balances job_logs state_transitions transfers chain_transactions nonces chain_cursors'
             || ' gas_spending system_config worker_registry admin_actions', 'SELECT', 'pipeline_web', 'true'),
            ('admin_actions', 'INSERT', 'pipeline_web', 'true')
        ) AS r (tables, cmd, role_name, condition)
    ) p;

    FOR stale IN
        SELECT p.tablename, p.policyname FROM pg_policies p
        WHERE p.schemaname = 'public' AND p.policyname LIKE 'flagpost\_%'
          AND NOT EXISTS (
              SELECT FROM wanted_policies w
              WHERE w.tablename = p.tablename AND w.policyname = p.policyname AND w.cmd = p.cmd
                AND p.roles = ARRAY[w.role_name]::name[]
                AND w.condition = coalesce(p.qual, p.with_check))
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', stale.policyname, stale.tablename);
    END LOOP;

    FOR wanted IN
        SELECT w.* FROM wanted_policies w
        WHERE NOT EXISTS (
            SELECT FROM pg_policies p
            WHERE p.schemaname = 'public' AND p.tablename = w.tablename AND p.policyname = w.policyname)
    LOOP
        EXECUTE format('CREATE POLICY %I ON %I FOR %s TO %I %s (%s)', wanted.policyname, wanted.tablename, wanted.cmd,
                       wanted.role_name, CASE wanted.cmd WHEN 'INSERT' THEN 'WITH CHECK' ELSE 'USING' END, wanted.condition);
    END LOOP;
END
$$;

-- Row Level Security on every table: what no policy allows, nobody but the owner sees or writes, whatever was granted
-- (on Supabase much is granted to anon by default).
--
-- Guarantees: each table has it; a policy exists for each privilege of sql/roles/20_privileges.sql; cursors are split
-- by purpose; whoever asks for payments cannot say what became of them on the chain. A policy that stands already is not
-- touched, so that migrating a running system locks no table for it.
DO $$
DECLARE
    secured text;
    wanted record;
    stale record;
BEGIN
    FOREACH secured IN ARRAY ARRAY[
        'chains', 'asset_on_chain', 'wallets', 'wallet_balances', 'sync_pages', 'state_transitions', 'job_logs', 'transfers',
        'bundles', 'signing_requests', 'gas_spending', 'fees_paid', 'chain_transactions', 'nonces', 'senders', 'chain_cursors',
        'system_config', 'worker_registry', 'worker_types', 'worker_targets', 'leaderships',
        'admin_actions', 'alerts', 'alert_silences', 'alert_deliveries',
        'job_history', 'job_history_months', 'job_history_names', 'job_counts', 'job_count_deltas',
        'flagpost_locks.named', 'flagpost_locks.thresholds'
    ] LOOP
        IF NOT (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = secured::regclass) THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', secured);
        END IF;
    END LOOP;

    CREATE TEMPORARY TABLE wanted_policies ON COMMIT DROP AS
    SELECT p.tablename, p.cmd, p.role_name, p.condition, p.afterwards,
           format('flagpost_%s_%s', p.role_name, lower(p.cmd)) AS policyname
    FROM (
        -- What an UPDATE may leave behind is said apart where it is not what it may take up.
        SELECT unnest(string_to_array(r.tables, ' ')) AS tablename, r.cmd, r.role_name, r.condition, r.afterwards
        FROM (VALUES
            ('wallets wallet_balances sync_pages chains asset_on_chain system_config', 'SELECT', 'pipeline_sync', 'true', NULL),
            ('wallet_balances', 'UPDATE', 'pipeline_sync', 'true', NULL),

            ('wallets wallet_balances chains asset_on_chain system_config chain_cursors', 'SELECT', 'pipeline_deposits', 'true', NULL),
            ('chain_cursors', 'INSERT', 'pipeline_deposits', '(purpose = ''deposits''::text)', NULL),
            ('chain_cursors', 'UPDATE', 'pipeline_deposits', '(purpose = ''deposits''::text)', NULL),

            ('chains asset_on_chain wallets wallet_balances sync_pages job_logs state_transitions transfers bundles'
             || ' signing_requests chain_transactions nonces senders'
             || ' chain_cursors gas_spending fees_paid system_config worker_registry worker_types worker_targets leaderships admin_actions'
             || ' job_history job_history_months job_history_names job_counts job_count_deltas'
             || ' alerts alert_silences alert_deliveries',
             'SELECT', 'pipeline_executor', 'true', NULL),
            ('job_logs', 'INSERT', 'pipeline_executor', 'true', NULL),
            ('transfers chain_transactions', 'INSERT', 'pipeline_executor', '(NOT found_on_chain)', NULL),
            ('job_logs wallets', 'UPDATE', 'pipeline_executor', 'true', NULL),
            ('bundles', 'INSERT', 'pipeline_executor', 'true', NULL),
            ('signing_requests', 'INSERT', 'pipeline_executor', '(state = ''asked''::text)', NULL),
            ('signing_requests', 'UPDATE', 'pipeline_executor', '(state = ''asked''::text)',
             '(state = ANY (ARRAY[''signed''::text, ''refused''::text]))'),
            ('transfers', 'UPDATE', 'pipeline_executor',
             '(state = ANY (ARRAY[''requested''::text, ''broadcasting''::text, ''expired''::text]))',
             '(state = ANY (ARRAY[''requested''::text, ''broadcasting''::text, ''rejected''::text]))'),
            ('chain_transactions', 'UPDATE', 'pipeline_executor', '(state = ''broadcasting''::text)', '(state = ''broadcasting''::text)'),

            ('chains asset_on_chain wallets wallet_balances sync_pages job_logs state_transitions transfers bundles'
             || ' signing_requests chain_transactions nonces senders'
             || ' chain_cursors gas_spending fees_paid system_config worker_registry worker_types worker_targets leaderships admin_actions'
             || ' job_history job_history_months job_history_names job_counts job_count_deltas'
             || ' alerts alert_silences alert_deliveries',
             'SELECT', 'pipeline_confirmations', 'true', NULL),
            ('job_logs nonces bundles', 'INSERT', 'pipeline_confirmations', 'true', NULL),
            ('transfers chain_transactions', 'INSERT', 'pipeline_confirmations', 'found_on_chain', NULL),
            ('job_logs transfers chain_transactions nonces senders', 'UPDATE', 'pipeline_confirmations', 'true', NULL),
            ('chain_cursors', 'INSERT', 'pipeline_confirmations', '(purpose = ''confirmations''::text)', NULL),
            ('chain_cursors', 'UPDATE', 'pipeline_confirmations', '(purpose = ''confirmations''::text)', NULL),

            ('worker_registry worker_types worker_targets system_config', 'SELECT', 'pipeline_agent', 'true', NULL),

            ('chains asset_on_chain wallets wallet_balances sync_pages job_logs state_transitions transfers bundles'
             || ' signing_requests chain_transactions nonces senders'
             || ' chain_cursors gas_spending fees_paid system_config worker_registry worker_types worker_targets leaderships admin_actions'
             || ' job_history job_history_months job_history_names job_counts job_count_deltas'
             || ' alerts alert_silences alert_deliveries',
             'SELECT', 'pipeline_readonly', 'true', NULL),
            ('chains asset_on_chain wallets wallet_balances sync_pages job_logs state_transitions transfers bundles'
             || ' signing_requests chain_transactions nonces senders'
             || ' chain_cursors gas_spending fees_paid system_config worker_registry worker_types worker_targets leaderships admin_actions'
             || ' job_history job_history_months job_history_names job_counts job_count_deltas'
             || ' alerts alert_silences alert_deliveries',
             'SELECT', 'pipeline_web', 'true', NULL)
        ) AS r (tables, cmd, role_name, condition, afterwards)
    ) p;

    FOR stale IN
        SELECT p.tablename, p.policyname FROM pg_policies p
        WHERE p.schemaname = 'public' AND p.policyname LIKE 'flagpost\_%'
          AND NOT EXISTS (
              SELECT FROM wanted_policies w
              WHERE w.tablename = p.tablename AND w.policyname = p.policyname AND w.cmd = p.cmd
                AND p.roles = ARRAY[w.role_name]::name[]
                AND w.condition = coalesce(p.qual, p.with_check)
                AND (w.cmd <> 'UPDATE' OR w.afterwards IS NOT DISTINCT FROM p.with_check))
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', stale.policyname, stale.tablename);
    END LOOP;

    FOR wanted IN
        SELECT w.* FROM wanted_policies w
        WHERE NOT EXISTS (
            SELECT FROM pg_policies p
            WHERE p.schemaname = 'public' AND p.tablename = w.tablename AND p.policyname = w.policyname)
    LOOP
        EXECUTE format('CREATE POLICY %I ON %I FOR %s TO %I %s (%s)%s', wanted.policyname, wanted.tablename, wanted.cmd,
                       wanted.role_name, CASE wanted.cmd WHEN 'INSERT' THEN 'WITH CHECK' ELSE 'USING' END, wanted.condition,
                       coalesce(' WITH CHECK (' || wanted.afterwards || ')', ''));
    END LOOP;
END
$$;

-- What in this database is Flagpost's, for whoever grants, revokes and checks rights (sql/roles/20_privileges.sql, `doctor`): in
-- the schema public other things may stand beside it, and their rights are not ours to touch.

-- The roles of our processes, and the read-only one.
CREATE OR REPLACE FUNCTION own_roles() RETURNS name[]
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT ARRAY['pipeline_sync', 'pipeline_deposits', 'pipeline_executor', 'pipeline_confirmations', 'pipeline_web',
                 'pipeline_agent', 'pipeline_readonly']::name[]
$$;

-- Tables and views, and the sequences of their columns.
CREATE OR REPLACE FUNCTION own_relations() RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH named (oid) AS (
        SELECT to_regclass('public.' || known.name)::oid
        FROM unnest(ARRAY[
            'schema_migrations', 'chains', 'asset_on_chain', 'wallets', 'wallet_balances', 'sync_pages', 'state_transitions',
            'job_logs', 'job_logs_seq', 'transfers', 'bundles', 'signing_requests', 'gas_spending', 'fees_paid',
            'chain_transactions', 'nonces', 'senders', 'chain_cursors', 'system_config', 'worker_registry', 'worker_types',
            'worker_targets', 'leaderships', 'admin_actions', 'alerts', 'alert_silences', 'alert_deliveries',
            'job_history', 'job_history_months', 'job_history_names', 'job_counts', 'job_count_deltas', 'all_jobs', 'job_totals',
            'user_wallets', 'wallet_flag_rule', 'wallet_state', 'balance_state'
        ]) AS known (name)
        UNION ALL
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('flagpost_locks', 'flagpost_history') AND c.relkind IN ('r', 'v', 'S')
    )
    SELECT oid FROM named WHERE oid IS NOT NULL
    UNION
    SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid IN (SELECT named.oid FROM named)
$$;

-- Functions, by name and types of parameters: an application's may pin the same search_path and belong to the same owner. Trigger
-- functions are among them. tests/db/test_grants.py says which one is missing here.
CREATE OR REPLACE FUNCTION own_functions() RETURNS SETOF oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT p.oid FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) = ANY (ARRAY[
        -- Operators' actions, sql/functions/admin_*.sql.
        'act_for_admin(uuid)', 'add_asset(text, text, text, integer, numeric, numeric, integer, boolean, uuid)',
        'add_chain(text, text, text, text, integer, numeric, numeric, numeric, numeric, numeric, numeric, numeric, text, jsonb, '
            'interval, interval, boolean, uuid)',
        'add_wallets(text, text[], bigint[], uuid[], uuid)', 'asset_named(text, text)', 'chain_named(text)', 'job_named(text)',
        'frozen_since_adoption()', 'node_origins(jsonb)', 'release_adopted_wallets(text[], uuid)',
        'retry_job(text, boolean, uuid)', 'set_asset_active(text, text, boolean, uuid)',
        'set_asset_rule(text, text, text, text, uuid)', 'set_asset_thresholds(text, text, numeric, numeric, integer, uuid)',
        'set_chain_active(text, boolean, jsonb, uuid)', 'set_chain_rule(text, text, text, uuid)',
        'set_system_config(text, jsonb, text, uuid)', 'set_wallet_flags(text, boolean, boolean, text, uuid)',
        'shown_rule(text, text, jsonb)', 'write_admin_action(text, text, text, jsonb, uuid)', 'write_changed_rule()',
        -- Everything else.
        'add_up_fees()', 'addresses_of(uuid[])', 'advance_sequences()', 'apply_changed_thresholds()',
        'balances_decide_flags()', 'blocked_sessions(interval)', 'bound_fees_of_chain()', 'caller_acts_as(name)',
        'calling_role()', 'cancel_job(text, uuid)', 'check_chain_custody()', 'check_ended_transfers()', 'check_gas_budgets()',
        'check_gas_request()', 'check_leader(text)', 'check_money_transitions()',
        'check_new_chain_transaction()', 'check_new_signing_request()', 'check_new_signing_requests()', 'check_new_transfer()',
        'check_new_transfers()', 'check_nonce()', 'check_sender()', 'check_signing_request()',
        'check_spending(integer, timestamp with time zone, bigint[], numeric[], numeric[])',
        'cleanup_stuck_jobs(integer, uuid)', 'clear_served_flags(uuid[], text[], timestamp with time zone[])',
        'compare_balances(uuid, uuid)', 'count_gas(integer[], timestamp with time zone[], bigint[], numeric[], numeric[])',
        'counted_fee(transfers, uuid)', 'counted_fees(bigint[])',
        'create_balances_of_assets()', 'create_balances_of_wallets()', 'dead_workers()',
        'request_reconciliation(integer, text, bigint)', 'end_sync_jobs()', 'evaluate_flags(uuid[])',
        'evaluate_gas_flags(uuid[])', 'find_wallet_of_job()', 'follow_written_jobs()', 'free_slot(text, bigint[])',
        'free_slot(text, bigint[], boolean)', 'replaced_process(text, text, bigint[])', 'told_in_slot(worker_registry)',
        'gas_spent(integer)', 'get_job_queue_stats()', 'give_back_nonce(bigint)',
        'freeze_sender(integer, text, text)', 'insert_user_wallet()', 'is_abandoned(signing_requests, interval)',
        'is_led(leaderships, timestamp with time zone)', 'is_own_row(worker_registry, text)', 'is_worker_login(oid)',
        'job_payments(uuid)', 'keep_asset_identity()', 'keep_balance_amounts()', 'keep_balance_locks()',
        'keep_chain_identity()', 'keep_flag_times()', 'keep_job_row()', 'keep_transfer_end()', 'lasting_stats(jsonb)',
        'lead(text, uuid, interval)', 'leaderships_without_leader(interval)', 'lock_gas(integer)', 'lock_row(text)',
        'lock_sender(integer, text)', 'lock_thresholds(boolean)', 'make_balances_due(uuid[])',
        'make_balances_due_after_payments(uuid[], uuid[], bigint[])', 'make_due_for_sync_job()',
        'mark_silent_workers(interval)', 'may_be_worker(text)', 'may_have_been_signed(integer, uuid, uuid)', 'move_nonces()',
        'next_nonce(integer, text)', 'unverified_nonces(integer, text, bigint)', 'note_changed_wallet()',
        'notification_queue_suspects()', 'notify_balance_due()', 'notify_config()', 'notify_unreconciled()',
        'notify_is_suppressed(double precision)', 'notify_listeners(text, text)', 'notify_lock(text)',
        'notify_signatures()', 'notify_transfers()', 'notify_wallet_flags()', 'one_more_in_history(jsonb, text)',
        'own_functions()', 'own_relations()', 'own_roles()',
        'refuse_bytes_alone()',
        'refuse_changed_bundle()', 'refuse_changed_money()', 'refuse_job_move()', 'refuse_cursor_ahead()',
        'refuse_deleted_money()', 'refuse_early_expiry()', 'refuse_forgotten_nonce()', 'refuse_gas_for_frozen_wallet()',
        'refuse_nonce_without_request()', 'refuse_receding_cursor()', 'refuse_signed_without_bytes()',
        'refuse_unfound_transfer()', 'refuse_unproved_expiry()', 'refuse_unusual_fee()',
        'register_worker(uuid, text, text, text, integer, text, integer, jsonb, text)',
        'register_worker(uuid, text, text, text, integer, text, integer, jsonb, text, text, boolean, text, text)',
        'report_worker(uuid, text, bigint, boolean, text, jsonb, text)', 'worker_orders(uuid)', 'memory_restarts(uuid)',
        'config_number(text, text, numeric)', 'desired_workers(text, text)', 'scale_by_load(timestamp with time zone)',
        'scaling_decisions(timestamp with time zone)', 'scaling_engine()',
        'chain_group(text)', 'scaling_number(text, numeric, numeric, numeric)',
        'scaling_step(bigint, integer, interval, integer, integer, bigint, integer, bigint, integer, interval)',
        'due_work()', 'agent_told_to_stop(text)', 'refuse_to_leave_payments(worker_registry, text)',
        'how_to_start(text, text)', 'system_health()', 'worker_health()', 'command_of(worker_registry)',
        'control_worker(text, text, boolean, uuid)',
        'has_agent(text)', 'has_process(worker_registry)',
        'payments_without(worker_registry)', 'serves_chain(text, text)', 'take_worker_command()', 'tell_worker()',
        'agent_is_there(worker_registry)', 'calling_agent(uuid, text)', 'end_slot(uuid, text, text, integer, text)',
        'scale_workers(text, integer, text, text, boolean, uuid)', 'shared_slots(text, text, integer)', 'shares(text, text)',
        'slot_is_kept(worker_registry)', 'slot_is_locked(text)', 'stat_number(jsonb, text)',
        'is_former_agent(worker_registry, text, text, bigint[])', 'former_may_return(worker_registry, bigint[])',
        'slot_number(text, text)', 'slot_of_agent(text, text, bigint[])', 'slots_wanted(text, text, text)',
        'take_slots(uuid, text, jsonb, text[])',
        'release_sender(text, text, bigint, uuid)', 'repair_jobs(integer)',
        'repair_times(integer)', 'repair_wallets(uuid, integer)', 'require_notify()', 'reread_changed_wallets()',
        'rescue_jobs(interval, interval, xid8, integer)', 'reserve_gap(bigint, bigint)', 'reserve_nonce(bigint, bigint)',
        'reserve_nonces(bigint[], bigint[])',
        'restrict_connect()', 'retry_failed_jobs(text, integer, uuid)', 'rights_of_others()', 'schema_version()',
        'sequences_behind()', 'set_updated_at()', 'settle_flags()', 'settle_gas_budget()', 'share_of_fee(transfers, numeric)',
        'slot_is_free(worker_registry, bigint[])', 'slot_prefix(text, text)', 'start_polling()', 'start_waiting(boolean)',
        'stop_leading(text, uuid)', 'suppressed_writers_ended()', 'usual_fee(integer, text)',
        'void_nonces(integer, text, bigint)', 'worker_has_ended(uuid)',
        'worker_heartbeat(uuid, text, text, text, jsonb, text)', 'worker_pids()', 'worker_session_key(uuid)',
        'worker_sessions()',
        -- Alerts, sql/functions/alerts.sql, admin_alerts.sql and old_transactions.sql.
        'acknowledge_alert(text, uuid)', 'alert_is_silenced(text, text)', 'alert_pattern_fits(text, text)',
        'claim_alert_deliveries(text[], integer, interval)', 'close_alerts_of_other_rules(text[])', 'end_silence(text, uuid)',
        'forget_old_alerts()', 'note_alert_delivery(bigint, integer, text)', 'old_transactions(interval)',
        'record_alerts(text, jsonb, text[], interval, interval)',
        'silence_alerts(text, text, timestamp with time zone, text, uuid)',
        -- Pages of balances, sql/functions/sync_pages.sql and store_sync_page.sql.
        'claim_sync_page(integer, text, double precision, integer, double precision)',
        'divide_sync_page(sync_pages, uuid, integer)',
        'end_sync_pages(uuid, uuid, uuid, uuid, integer, bigint, boolean, timestamp with time zone, interval)',
        'last_of_joined_pages(sync_pages, integer)',
        'record_unchanged_balances(uuid, uuid, uuid, timestamp with time zone, bigint)',
        'store_sync_page(text, uuid, uuid, uuid, uuid, integer, bigint, bigint, boolean, uuid[], text[], text[], bigint[], '
            'text[])',
        'unlock_sync_pages(text, uuid, uuid, uuid, double precision, text)',
        'write_read_balances(uuid, uuid[], text[], text[], bigint[], text[], interval)',
        -- Counts and history of jobs.
        'add_history_month(date)', 'count_emptied_jobs()', 'count_moved_jobs()',
        'drop_history_month(date, timestamp with time zone, uuid)', 'fold_job_counts(integer)', 'forget_old_leaderships()',
        'history_months()', 'history_setting(text)', 'job_id_at(timestamp with time zone)', 'job_uuid(text)',
        'jobs_of_wallet(text, integer, timestamp with time zone)',
        'jobs_to_move(uuid, integer, timestamp with time zone)', 'move_back_jobs(uuid[])',
        'move_finished_jobs(uuid, integer, interval, interval, timestamp with time zone)', 'move_jobs(uuid[])',
        'note_history_export(date, bigint, bigint, text, uuid)', 'recount_jobs()', 'refuse_changed_history()', 'refuse_lost_jobs()',
        'refuse_lost_wallet()', 'refuse_moved_job_id()', 'uncount_deleted_jobs()', 'uncount_ended_job()'
    ])
$$;

-- Every right on our objects that neither the owner nor one of our roles holds: PUBLIC and others, one row a right. Rights on
-- a single column name it.
CREATE OR REPLACE FUNCTION rights_of_others() RETURNS TABLE (object text, grantee text, privilege text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT held.object, CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE held.grantee::regrole::text END, held.privilege
    FROM (
        SELECT c.oid::regclass::text AS object, c.relowner AS owner, acl.grantee, acl.privilege_type AS privilege
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid IN (SELECT own_relations())
        UNION ALL
        SELECT format('%s.%I', c.oid::regclass, a.attname), c.relowner, acl.grantee, acl.privilege_type
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(a.attacl) acl
        WHERE c.oid IN (SELECT own_relations())
        UNION ALL
        SELECT p.oid::regprocedure::text, p.proowner, acl.grantee, acl.privilege_type
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
        WHERE p.oid IN (SELECT own_functions())
        UNION ALL
        SELECT format('schema %I', n.nspname), n.nspowner, acl.grantee, acl.privilege_type
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) acl
        WHERE n.nspname IN ('flagpost_locks', 'flagpost_history')
    ) held
    WHERE held.grantee <> held.owner
      AND held.grantee NOT IN (SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (own_roles()))
    ORDER BY 1, 2, 3
$$;

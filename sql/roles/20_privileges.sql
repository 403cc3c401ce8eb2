-- Who may touch what. Read together with sql/roles/30_row_security.sql, which must allow it too.
--
-- Guarantees: after every migrate the roles have exactly what stands here, in this database. The sync writes wallet_balances and
-- nothing else; the web writes through functions alone that write admin_actions; the executors write jobs, transfers and flags,
-- never rules or configuration, and nothing of what became of a payment on the chain: that is said by the confirmation worker
-- alone, which asks for none; signed bytes are readable only by who sends them; functions that act with the owner's rights belong
-- to the roles named here and to nobody else; PUBLIC, and anon and authenticated of Supabase, have no right on any table, view,
-- sequence or function of ours, whatever its default privileges gave them as it was created. These defaults stay as they are,
-- because they are for the other tables, too: what a migration creates is taken from them here, in the same transaction.

REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent, pipeline_readonly;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public
    FROM pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent, pipeline_readonly;
-- Databases that came from Postgres 14 or older let everybody create objects beside ours, which functions with the
-- owner's rights could then be made to call.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent, pipeline_readonly;

-- service_role is Supabase's key of an administrator: it passes row level security and keeps the rows, but neither what lets it
-- empty a table, put code behind it, move a sequence or rewrite what was done by whom.
DO $$
DECLARE
    held record;
    definer record;
    called record;
    of_tables text := 'TRUNCATE, REFERENCES, TRIGGER';
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        of_tables := of_tables || ', MAINTAIN';
    END IF;
    FOR held IN
        SELECT DISTINCT c.oid::regclass AS relation, c.relkind = 'S' AS is_sequence, c.relname AS name,
               coalesce(g.rolname, 'PUBLIC') AS grantee
        FROM pg_class c
        CROSS JOIN LATERAL (
            SELECT acl.grantee FROM aclexplode(c.relacl) acl
            UNION
            SELECT acl.grantee FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) acl WHERE a.attrelid = c.oid
        ) rights
        LEFT JOIN pg_roles g ON g.oid = rights.grantee
        WHERE c.oid IN (SELECT own_relations())
          AND (rights.grantee = 0 OR g.rolname IN ('anon', 'authenticated', 'service_role'))
    LOOP
        IF held.grantee <> 'service_role' THEN
            EXECUTE format('REVOKE ALL ON %s %s FROM %s', CASE WHEN held.is_sequence THEN 'SEQUENCE' ELSE 'TABLE' END,
                           held.relation, CASE held.grantee WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(held.grantee) END);
        ELSIF held.is_sequence THEN
            EXECUTE format('REVOKE UPDATE ON SEQUENCE %s FROM service_role', held.relation);
        ELSE
            EXECUTE format('REVOKE %s ON %s FROM service_role',
                           of_tables || CASE WHEN held.name = 'admin_actions' THEN ', UPDATE, DELETE' ELSE '' END, held.relation);
        END IF;
    END LOOP;

    FOR definer IN
        SELECT p.oid::regprocedure AS signature, coalesce(g.rolname, 'public') AS grantee
        FROM pg_proc p
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
        LEFT JOIN pg_roles g ON g.oid = acl.grantee
        WHERE p.oid IN (SELECT own_functions())
          AND acl.grantee <> p.proowner
          AND (p.prosecdef OR acl.grantee = 0 OR g.rolname IN ('anon', 'authenticated', 'service_role'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', definer.signature,
                       CASE definer.grantee WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(definer.grantee) END);
    END LOOP;

    -- Functions that act with the rights of who calls them are of use to our own roles, within these.
    FOR called IN
        SELECT p.oid::regprocedure AS signature FROM pg_proc p
        WHERE p.oid IN (SELECT own_functions()) AND NOT p.prosecdef AND p.prorettype <> 'trigger'::regtype
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', called.signature, array_to_string(own_roles(), ', '));
    END LOOP;
END
$$;

-- Who starts waits until its version is there.
GRANT SELECT ON schema_migrations TO
    pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent, pipeline_readonly;

-- The sync: what to read, and the balances.
GRANT SELECT ON wallets, wallet_balances, sync_pages, chains, asset_on_chain, system_config TO pipeline_sync;
GRANT UPDATE (
    on_chain_balance_raw, on_chain_balance_human, processing_status, locked_until, locked_by, next_check_at, recheck,
    block_number, last_checked, last_processed_at, last_error, last_error_at, sync_count, error_count, updated_at
) ON wallet_balances TO pipeline_sync;
GRANT EXECUTE ON FUNCTION claim_sync_page(integer, text, double precision, integer, double precision),
    store_sync_page(text, uuid, uuid, uuid, uuid, integer, bigint, bigint, boolean, uuid[], text[], text[], bigint[], text[]),
    unlock_sync_pages(text, uuid, uuid, uuid, double precision, text)
    TO pipeline_sync;

-- The deposit listeners: how far they have read, and whose balances moved.
GRANT SELECT ON wallets, wallet_balances, chains, asset_on_chain, system_config, chain_cursors TO pipeline_deposits;
GRANT INSERT, UPDATE ON chain_cursors TO pipeline_deposits;

-- The executors and the sweep: jobs, payments until they are out, and the flags they serve. The confirmation worker: payments
-- from then on, with the proof of what became of them.
GRANT SELECT ON chains, asset_on_chain, wallets, wallet_balances, sync_pages, balance_state, job_logs, state_transitions,
    transfers, bundles, signing_requests, chain_transactions, nonces, senders, chain_cursors, gas_spending, fees_paid,
    system_config, worker_registry, worker_types, worker_targets, leaderships, admin_actions, wallet_flag_rule, user_wallets, wallet_state,
    job_history, job_history_months, job_history_names, job_counts, job_count_deltas, all_jobs, job_totals, alerts, alert_silences,
    alert_deliveries
    TO pipeline_executor, pipeline_confirmations;
GRANT INSERT, UPDATE ON job_logs, transfers, chain_transactions TO pipeline_executor, pipeline_confirmations;
GRANT INSERT ON bundles TO pipeline_executor, pipeline_confirmations;
GRANT INSERT ON signing_requests TO pipeline_executor;
GRANT UPDATE (state, refusal) ON signing_requests TO pipeline_executor;
GRANT UPDATE (needs_gas, needs_consolidation) ON wallets TO pipeline_executor;
GRANT USAGE ON SEQUENCE job_logs_seq TO pipeline_executor, pipeline_confirmations;
GRANT INSERT, UPDATE ON nonces, chain_cursors TO pipeline_confirmations;
GRANT UPDATE (
    first_nonce, finalized, final_block, unknown_below, unknown_since, stuck, stuck_since, unexplained
) ON senders TO pipeline_confirmations;

-- People and dashboards: everything but signed bytes, with which anybody could send.
GRANT SELECT ON chains, asset_on_chain, wallets, wallet_balances, sync_pages, balance_state, job_logs, state_transitions,
    transfers, bundles, nonces, senders, chain_cursors, gas_spending, fees_paid, system_config, worker_registry, worker_types,
    worker_targets, leaderships, admin_actions, wallet_flag_rule, user_wallets, wallet_state,
    job_history, job_history_months, job_history_names, job_counts, job_count_deltas, all_jobs, job_totals, alerts, alert_silences,
    alert_deliveries
    TO pipeline_readonly, pipeline_web;
GRANT SELECT (
    id, bundle_id, request_id, chain_id, attempt, txid, sender, nonce, ref_block, expiration, fee_cap, state, first_broadcast_at,
    last_broadcast_at, broadcast_count, last_result, block_number, block_id, block_time, fee_paid, found_on_chain,
    created_at, updated_at
) ON chain_transactions TO pipeline_readonly, pipeline_web;
GRANT SELECT (
    request_id, bundle_id, chain_id, sender, replaces, nonce, ref_block, expiration, parameters, fee_cap, state, refusal, created_at, updated_at
) ON signing_requests TO pipeline_readonly, pipeline_web;

-- A process of any role is seen alive in the registry.
GRANT EXECUTE ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb, text),
    register_worker(uuid, text, text, text, integer, text, integer, jsonb, text, text, boolean, text, text),
    worker_heartbeat(uuid, text, text, text, jsonb, text), report_worker(uuid, text, bigint, boolean, text, jsonb, text),
    worker_orders(uuid), memory_restarts(uuid), notification_queue_suspects()
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent;
-- The agent of a host: what it is told and configured to do.
GRANT SELECT ON worker_registry, worker_types, worker_targets, system_config TO pipeline_agent;
GRANT EXECUTE ON FUNCTION take_slots(uuid, text, jsonb, text[]), end_slot(uuid, text, text, integer, text), slot_is_locked(text)
    TO pipeline_agent;
GRANT EXECUTE ON FUNCTION lead(text, uuid, interval), stop_leading(text, uuid), lock_gas(integer), lock_sender(integer, text)
    TO pipeline_executor, pipeline_confirmations;
GRANT EXECUTE ON FUNCTION blocked_sessions(interval), leaderships_without_leader(interval)
    TO pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_readonly;
GRANT EXECUTE ON FUNCTION schema_version()
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_agent, pipeline_readonly;
GRANT EXECUTE ON FUNCTION clear_served_flags(uuid[], text[], timestamptz[]) TO pipeline_executor;
-- A sequence that is behind its rows stops whoever inserts: they may move it past them, and nobody back.
GRANT EXECUTE ON FUNCTION advance_sequences() TO pipeline_executor, pipeline_confirmations, pipeline_web;
GRANT EXECUTE ON FUNCTION sequences_behind(), compare_balances(uuid, uuid) TO pipeline_executor, pipeline_web, pipeline_readonly;
GRANT EXECUTE ON FUNCTION repair_wallets(uuid, integer), repair_jobs(integer) TO pipeline_executor;
GRANT EXECUTE ON FUNCTION rescue_jobs(interval, interval, xid8, integer), mark_silent_workers(interval)
    TO pipeline_executor, pipeline_confirmations;
GRANT EXECUTE ON FUNCTION repair_times(integer), scale_by_load(timestamptz) TO pipeline_executor;
-- Finished jobs: the sweep moves and counts them, and drops months as system_config says, which it cannot write.
GRANT EXECUTE ON FUNCTION move_finished_jobs(uuid, integer, interval, interval, timestamptz), fold_job_counts(integer),
    add_history_month(date), drop_history_month(date, timestamptz, uuid), forget_old_leaderships()
    TO pipeline_executor;
-- Alerts: the sweep raises and sends them, through functions alone.
GRANT EXECUTE ON FUNCTION record_alerts(text, jsonb, text[], interval, interval), close_alerts_of_other_rules(text[]),
    forget_old_alerts(), claim_alert_deliveries(text[], integer, interval), note_alert_delivery(bigint, integer, text)
    TO pipeline_executor;
GRANT EXECUTE ON FUNCTION old_transactions(interval) TO pipeline_executor, pipeline_web, pipeline_readonly;
GRANT EXECUTE ON FUNCTION history_months() TO pipeline_executor, pipeline_web, pipeline_readonly;
GRANT EXECUTE ON FUNCTION reserve_nonces(bigint[], bigint[]), reserve_nonce(bigint, bigint), reserve_gap(bigint, bigint),
    give_back_nonce(bigint) TO pipeline_executor;
GRANT EXECUTE ON FUNCTION request_reconciliation(integer, text, bigint) TO pipeline_executor, pipeline_confirmations;
GRANT EXECUTE ON FUNCTION freeze_sender(integer, text, text) TO pipeline_confirmations;
GRANT EXECUTE ON FUNCTION make_balances_due(uuid[]) TO pipeline_executor, pipeline_deposits, pipeline_web;
GRANT EXECUTE ON FUNCTION evaluate_flags(uuid[]) TO pipeline_executor, pipeline_web;

-- What an admin may do, through functions that write admin_actions: the web reads, calls these, and writes nothing by itself.
GRANT EXECUTE ON FUNCTION
    retry_job(text, boolean, uuid), retry_failed_jobs(text, integer, uuid), cleanup_stuck_jobs(integer, uuid), cancel_job(text, uuid),
    add_wallets(text, text[], bigint[], uuid[], uuid), set_wallet_flags(text, boolean, boolean, text, uuid),
    add_chain(text, text, text, text, integer, numeric, numeric, numeric, numeric, numeric, numeric, numeric, text, jsonb, interval,
              interval, boolean, uuid),
    set_chain_active(text, boolean, jsonb, uuid), set_chain_rule(text, text, text, uuid),
    add_asset(text, text, text, integer, numeric, numeric, integer, boolean, uuid), set_asset_active(text, text, boolean, uuid),
    set_asset_thresholds(text, text, numeric, numeric, integer, uuid), set_asset_rule(text, text, text, text, uuid),
    set_system_config(text, jsonb, text, uuid), release_sender(text, text, bigint, uuid),
    note_history_export(date, bigint, bigint, text, uuid), control_worker(text, text, boolean, uuid),
    acknowledge_alert(text, uuid), silence_alerts(text, text, timestamptz, text, uuid), end_silence(text, uuid),
    scale_workers(text, integer, text, text, boolean, uuid)
    TO pipeline_web;

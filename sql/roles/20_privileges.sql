-- Who may touch what. Read together with sql/roles/30_row_security.sql, which must allow it too.
--
-- Guarantees: after every migrate the roles have exactly what stands here, in this database. The sync writes
-- wallet_balances and nothing else; the executors write jobs, transfers and flags, never rules or configuration, and nothing
-- of what became of a payment on the chain: that is said by the confirmation worker alone, which asks for none;
-- signed bytes are readable only by who sends them; functions that act with the owner's rights belong to the roles
-- named here and to nobody else (on Supabase, not to anon and authenticated either).

REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_readonly;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public
    FROM pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_readonly;
-- Databases that came from Postgres 14 or older let everybody create objects beside ours, which functions with the
-- owner's rights could then be made to call.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_readonly;

-- Functions of ours that run with the owner's rights are known by their pinned search_path.
DO $$
DECLARE
    definer record;
BEGIN
    FOR definer IN
        SELECT p.oid::regprocedure AS signature, coalesce(g.rolname, 'public') AS grantee
        FROM pg_proc p
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
        LEFT JOIN pg_roles g ON g.oid = acl.grantee
        WHERE p.pronamespace = 'public'::regnamespace
          AND p.prosecdef
          AND p.proconfig = ARRAY['search_path=pg_catalog, public, pg_temp']
          AND acl.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', definer.signature,
                       CASE definer.grantee WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(definer.grantee) END);
    END LOOP;
END
$$;

-- The sync: what to read, and the balances.
GRANT SELECT ON wallets, wallet_balances, chains, asset_on_chain, system_config TO pipeline_sync;
GRANT UPDATE (
    on_chain_balance_raw, on_chain_balance_human, processing_status, locked_until, locked_by, next_check_at, recheck,
    block_number, last_checked, last_processed_at, last_error, last_error_at, sync_count, error_count, updated_at
) ON wallet_balances TO pipeline_sync;

-- The deposit listeners: how far they have read, and whose balances moved.
GRANT SELECT ON wallets, wallet_balances, chains, asset_on_chain, system_config, chain_cursors TO pipeline_deposits;
GRANT INSERT, UPDATE ON chain_cursors TO pipeline_deposits;

-- The executors and the sweep: jobs, payments until they are out, and the flags they serve. The confirmation worker: payments
-- from then on, with the proof of what became of them.
GRANT SELECT ON chains, asset_on_chain, wallets, wallet_balances, job_logs, state_transitions, transfers, chain_transactions, nonces,
    senders, chain_cursors, gas_spending, system_config, worker_registry, admin_actions, wallet_flag_rule, user_wallets, wallet_state
    TO pipeline_executor, pipeline_confirmations;
GRANT INSERT, UPDATE ON job_logs, transfers, chain_transactions TO pipeline_executor, pipeline_confirmations;
GRANT UPDATE (needs_gas, needs_consolidation) ON wallets TO pipeline_executor;
GRANT USAGE ON SEQUENCE job_logs_seq TO pipeline_executor, pipeline_confirmations;
GRANT INSERT, UPDATE ON nonces, chain_cursors TO pipeline_confirmations;
GRANT UPDATE (
    first_nonce, finalized, final_block, unknown_below, unknown_since, stuck, stuck_since, unexplained
) ON senders TO pipeline_confirmations;

-- People and dashboards: everything but signed bytes, with which anybody could send.
GRANT SELECT ON chains, asset_on_chain, wallets, wallet_balances, job_logs, state_transitions, transfers, nonces, senders,
    chain_cursors, gas_spending, system_config, worker_registry, admin_actions, wallet_flag_rule, user_wallets, wallet_state
    TO pipeline_readonly, pipeline_web;
GRANT SELECT (
    id, transfer_id, chain_id, attempt, txid, sender, nonce, ref_block, expiration, fee_cap, state, first_broadcast_at,
    last_broadcast_at, broadcast_count, last_result, block_number, block_id, block_time, fee_paid, found_on_chain,
    created_at, updated_at
) ON chain_transactions TO pipeline_readonly, pipeline_web;

-- The web acts through functions, and writes down what it did.
GRANT INSERT ON admin_actions TO pipeline_web;

-- A process of any role is seen alive in the registry.
GRANT EXECUTE ON FUNCTION register_worker(uuid, text, text, text, integer, text, integer, jsonb),
    worker_heartbeat(uuid, text, text, text, jsonb)
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web;
GRANT EXECUTE ON FUNCTION schema_version()
    TO pipeline_sync, pipeline_deposits, pipeline_executor, pipeline_confirmations, pipeline_web, pipeline_readonly;
GRANT EXECUTE ON FUNCTION clear_served_flags(bigint[], text[], timestamptz[]) TO pipeline_executor;
GRANT EXECUTE ON FUNCTION rescue_jobs(interval, interval), mark_silent_workers(interval)
    TO pipeline_executor, pipeline_confirmations;
GRANT EXECUTE ON FUNCTION reserve_nonce(bigint, bigint), reserve_gap(bigint, bigint) TO pipeline_executor;
GRANT EXECUTE ON FUNCTION doubt_sender(integer, text, bigint) TO pipeline_executor, pipeline_confirmations;
GRANT EXECUTE ON FUNCTION hold_sender(integer, text, text) TO pipeline_confirmations;
GRANT EXECUTE ON FUNCTION make_balances_due(bigint[]) TO pipeline_executor, pipeline_deposits, pipeline_web;
GRANT EXECUTE ON FUNCTION evaluate_flags(bigint[]) TO pipeline_executor, pipeline_web;
GRANT EXECUTE ON FUNCTION retry_failed_jobs(text, integer), cleanup_stuck_jobs(integer), cancel_job(text)
    TO pipeline_executor, pipeline_web;
GRANT EXECUTE ON FUNCTION release_sender(text, text) TO pipeline_web;

-- One row per wallet with everything an operator asks first: whose it is, what it holds, what it waits for.
--
-- Guarantees: `owner` is 'foreign' for a wallet that is not derived from our mnemonic (it never gets gas and its flags
-- do not follow its balances); jobs and transfers shown are the live ones only.
CREATE OR REPLACE VIEW wallet_state WITH (security_invoker = true) AS
SELECT w.id,
       c.name AS chain,
       w.address,
       w.user_id,
       CASE WHEN w.derivation_index IS NULL THEN 'foreign' ELSE 'ours' END AS owner,
       w.derivation_index,
       w.needs_gas,
       w.needs_consolidation,
       w.wanted_job,
       w.wanted_since,
       held.balances,
       jobs.live_jobs,
       money.in_flight,
       held.last_sync_at,
       held.last_error
FROM wallets w
JOIN chains c ON c.id = w.chain_id
LEFT JOIN LATERAL (
    SELECT string_agg(trim_scale(b.on_chain_balance_human) || ' ' || a.symbol, ', '
                      ORDER BY a.contract_address IS NOT NULL, a.id) AS balances,
           max(b.last_checked) AS last_sync_at,
           min(b.last_error) AS last_error
    FROM balance_state b
    JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
    WHERE b.wallet_id = w.id
) held ON true
LEFT JOIN LATERAL (
    SELECT string_agg(j.job_type || ' ' || j.status || CASE WHEN j.awaiting_chain THEN ' (awaiting chain)' ELSE '' END,
                      ', ' ORDER BY j.seq) AS live_jobs
    FROM job_logs j
    WHERE j.wallet_id = w.id AND j.completed_at IS NULL
) jobs ON true
LEFT JOIN LATERAL (
    SELECT string_agg(format('%s %s %s %s', t.kind, trim_scale(t.amount * trim_scale(1 / (10::numeric ^ a.decimals))),
                             a.symbol, t.state), ', ' ORDER BY t.id) AS in_flight
    FROM transfers t
    JOIN asset_on_chain a ON a.id = t.asset_on_chain_id
    WHERE t.wallet_id = w.id AND t.state NOT IN ('final', 'reverted', 'rejected')
) money ON true;

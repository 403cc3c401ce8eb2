-- Payments that are decided and not settled. One that is broadcasting or included is looked up on the chain, never paid anew.
-- psql -f sql/inspect/money_in_flight.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'In flight by chain, kind and state'
SELECT c.name AS chain, t.kind, t.state, a.symbol, count(*) AS transfers,
       trim_scale(sum(t.amount) * trim_scale(1 / (10::numeric ^ a.decimals))) AS amount,
       date_trunc('second', clock_timestamp() - min(t.created_at)) AS oldest
FROM transfers t
JOIN chains c ON c.id = t.chain_id
JOIN asset_on_chain a ON a.id = t.asset_on_chain_id
WHERE t.state NOT IN ('final', 'reverted', 'rejected')
GROUP BY c.name, t.kind, t.state, a.symbol, a.decimals
ORDER BY c.name, t.kind, t.state;

\echo 'The 50 oldest, with their last attempt'
SELECT t.id, t.kind, t.state,
       trim_scale(t.amount * trim_scale(1 / (10::numeric ^ a.decimals))) || ' ' || a.symbol AS amount,
       t.from_address, t.to_address, j.job_id,
       x.attempt, x.txid, x.state AS transaction, x.broadcast_count AS sent, x.last_result,
       date_trunc('second', x.expiration - clock_timestamp()) AS expires_in,
       date_trunc('second', clock_timestamp() - t.created_at) AS age
FROM transfers t
JOIN asset_on_chain a ON a.id = t.asset_on_chain_id
LEFT JOIN job_logs j ON j.id = t.job_id
LEFT JOIN LATERAL (
    SELECT ct.attempt, ct.txid, ct.state, ct.broadcast_count, ct.last_result, ct.expiration
    FROM chain_transactions ct
    WHERE ct.bundle_id = t.bundle_id
    ORDER BY ct.attempt DESC
    LIMIT 1
) x ON true
WHERE t.state NOT IN ('final', 'reverted', 'rejected')
ORDER BY t.id
LIMIT 50;

\echo 'Signatures that are requested and not stored yet'
SELECT r.request_id, r.sender, r.nonce, t.id AS transfer, t.kind, r.replaces IS NOT NULL AS replacement, j.job_id, j.status AS job,
       date_trunc('second', clock_timestamp() - r.created_at) AS age
FROM signing_requests r
JOIN transfers t ON t.bundle_id = r.bundle_id
LEFT JOIN job_logs j ON j.id = t.job_id
WHERE r.state = 'asked'
ORDER BY r.created_at
LIMIT 50;

\echo 'How far final blocks have been read'
SELECT c.name AS chain, k.purpose, k.block_number, date_trunc('second', clock_timestamp() - k.block_time) AS behind
FROM chain_cursors k
JOIN chains c ON c.id = k.chain_id
ORDER BY c.name, k.purpose;

\echo 'Should be empty: jobs that wait for the chain without a payment there, and payments there without a waiting job'
SELECT 'job without payment' AS what, j.job_id, NULL AS transfer
FROM job_logs j
WHERE j.completed_at IS NULL AND j.status = 'active' AND j.awaiting_chain
  AND NOT EXISTS (SELECT FROM transfers t WHERE t.job_id = j.id AND t.state IN ('broadcasting', 'included'))
UNION ALL
SELECT 'payment without job', j.job_id, t.id
FROM transfers t
LEFT JOIN job_logs j ON j.id = t.job_id
WHERE t.state IN ('broadcasting', 'included') AND NOT (j.status = 'active' AND j.awaiting_chain)
  -- What was signed is sent, though its job ended between the two commits.
  AND NOT EXISTS (SELECT FROM chain_transactions a WHERE a.bundle_id = t.bundle_id AND a.created_at > j.completed_at);

-- Nonce queues of senders (EVM): which payments wait, which nonces need a self-transfer (void), which were used by others (lost).
-- psql -f sql/inspect/nonces.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Nonces of senders that have a reserved, void or lost one'
SELECT c.name AS chain, n.sender, max(n.nonce) + 1 AS next,
       count(*) FILTER (WHERE n.state = 'reserved') AS reserved,
       count(*) FILTER (WHERE n.state = 'used') AS used,
       count(*) FILTER (WHERE n.state = 'void') AS void,
       count(*) FILTER (WHERE n.state = 'lost') AS lost
FROM nonces n
JOIN chains c ON c.id = n.chain_id
GROUP BY c.name, n.sender
HAVING count(*) FILTER (WHERE n.state IN ('reserved', 'void', 'lost')) > 0
ORDER BY c.name, count(*) DESC
LIMIT 50;

\echo 'Senders that pay nothing: being reconciled by confirmations, frozen or stuck (flagpost senders release CHAIN SENDER)'
SELECT c.name AS chain, s.sender, next_nonce(s.chain_id, s.sender) AS recorded_below, s.unknown_below,
       date_trunc('second', clock_timestamp() - s.unknown_since) AS reconciling_for,
       date_trunc('second', clock_timestamp() - s.frozen_since) AS frozen_for, s.frozen AS frozen,
       date_trunc('second', clock_timestamp() - s.stuck_since) AS stuck_for, s.stuck, s.unexplained, s.released
FROM senders s
JOIN chains c ON c.id = s.chain_id
WHERE s.unknown_below IS NOT NULL OR s.frozen IS NOT NULL OR s.stuck IS NOT NULL
ORDER BY least(s.frozen_since, s.stuck_since, s.unknown_since)
LIMIT 50;

\echo 'The 50 lowest open nonces, with their attempts'
SELECT c.name AS chain, n.sender, n.nonce, n.state, t.id AS transfer, t.kind, t.state AS payment,
       count(x.id) AS attempts, max(x.fee_cap) AS highest_fee, max(x.broadcast_count) AS sent,
       date_trunc('second', clock_timestamp() - t.replace_wanted_at) AS replacement_wanted_for, t.error_message, n.used_by
FROM nonces n
JOIN chains c ON c.id = n.chain_id
LEFT JOIN transfers t ON t.bundle_id = n.bundle_id
LEFT JOIN chain_transactions x ON x.bundle_id = t.bundle_id AND x.nonce = n.nonce
WHERE n.state IN ('reserved', 'void')
GROUP BY c.name, n.sender, n.nonce, n.state, n.used_by, t.id
ORDER BY n.nonce
LIMIT 50;

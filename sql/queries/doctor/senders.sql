-- Senders that pay nothing now, or of whom a person has to judge something (EVM): frozen, stuck, or being reconciled for over an hour,
-- which the confirmation worker would have said if it ran. An index of few rows.
SELECT c.name AS chain, s.sender, s.frozen, s.frozen_since, s.stuck, s.stuck_since, s.unexplained IS NOT NULL AS unexplained,
       CASE WHEN s.unknown_since < clock_timestamp() - interval '1 hour' THEN s.unknown_since END AS looked_into_since
FROM senders s
JOIN chains c ON c.id = s.chain_id
WHERE s.frozen IS NOT NULL OR s.stuck IS NOT NULL
   OR (s.unknown_below IS NOT NULL AND s.unknown_since < clock_timestamp() - interval '1 hour')
ORDER BY least(s.frozen_since, s.stuck_since, s.unknown_since)
LIMIT 20;

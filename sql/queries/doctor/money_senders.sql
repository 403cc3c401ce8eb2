-- Senders that pay nothing: held until a person has looked, or looked into for longer than that takes.
SELECT c.name AS chain, s.sender, s.held AS reason, now() - s.held_since AS since, true AS held, ARRAY[s.sender] AS ids
FROM senders s
JOIN chains c ON c.id = s.chain_id
WHERE s.held IS NOT NULL
UNION ALL
SELECT c.name, s.sender, format('transactions below nonce %%s are not known', s.unknown_below), now() - s.unknown_since, false,
       ARRAY[s.sender]
FROM senders s
JOIN chains c ON c.id = s.chain_id
WHERE s.unknown_below IS NOT NULL AND s.held IS NULL AND s.unknown_since < now() - interval '10 minutes'
ORDER BY since DESC
LIMIT 20;

-- Senders that pay nothing until an operator releases them, or until they are reconciled with the chain.
SELECT c.name AS chain, s.sender,
       coalesce(concat_ws('; ', s.frozen, s.stuck), '')
       || CASE WHEN s.frozen IS NULL AND s.stuck IS NULL
               THEN format('transactions below nonce %%s are missing from the database and looked for', s.unknown_below) ELSE '' END
           AS reason,
       coalesce(s.frozen_since, s.stuck_since, s.unknown_since) AS since
FROM senders s
JOIN chains c ON c.id = s.chain_id
WHERE s.frozen IS NOT NULL OR s.stuck IS NOT NULL OR s.unknown_below IS NOT NULL
ORDER BY c.name, s.sender;

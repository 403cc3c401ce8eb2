-- Senders whose count is compared with what is recorded though nobody pays: who pays gas, and the next few of all in the order of
-- their addresses. Those that are being reconciled are compared anyway.
(SELECT t.from_address AS sender, true AS pays_gas
   FROM transfers t
  WHERE t.chain_id = %(chain_id)s AND t.kind = 'gas'
  ORDER BY t.id DESC
  LIMIT 1)
UNION ALL
(SELECT s.sender, false
   FROM senders s
  WHERE s.chain_id = %(chain_id)s AND s.sender > %(after)s AND s.first_nonce IS NOT NULL AND s.unknown_below IS NULL
  ORDER BY s.sender
  LIMIT %(limit)s);

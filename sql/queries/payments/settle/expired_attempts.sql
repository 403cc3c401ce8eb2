-- Attempts that were proved dead: none of them may ever be seen on the chain. Those of the last ten minutes, which
-- cover what a lagging node can have kept from the proof, each time; and by turns all of the last month, for what a node
-- shows later, with what a wrong clock wrote at their end. The limits keep a mass expiry from becoming a mass lookup.
(SELECT txid, (SELECT min(t.id) FROM transfers t WHERE t.bundle_id = chain_transactions.bundle_id) AS transfer_id, state,
       NULL::timestamptz AS turn
   FROM chain_transactions
  WHERE chain_id = %(chain_id)s AND state = 'expired'
    AND updated_at BETWEEN now() - interval '10 minutes' AND now() + interval '1 minute'
  ORDER BY updated_at DESC
  LIMIT 20)
UNION ALL
(SELECT txid, (SELECT min(t.id) FROM transfers t WHERE t.bundle_id = chain_transactions.bundle_id) AS transfer_id, state, updated_at
   FROM chain_transactions
  WHERE chain_id = %(chain_id)s AND state = 'expired'
    AND updated_at > greatest(now() - interval '30 days', %(after)s::timestamptz)
    AND updated_at NOT BETWEEN now() - interval '10 minutes' AND now() + interval '1 minute'
  ORDER BY updated_at
  FETCH FIRST 10 ROWS WITH TIES);

-- Attempts that were proved dead or given up a short while ago: none of them may ever be seen on the chain. Ten minutes
-- cover what a lagging node can have kept from the proof; the limit keeps a mass death from becoming a mass look-up.
SELECT txid, transfer_id, state
  FROM chain_transactions
 WHERE chain_id = %(chain_id)s AND state IN ('expired', 'rejected') AND updated_at > now() - interval '10 minutes'
 ORDER BY updated_at DESC
 LIMIT 20;

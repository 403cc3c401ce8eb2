-- Notes what a node said to a broadcast. It decides nothing, and comes too late for an attempt that was seen in a block in the
-- meantime: that row is left alone.
UPDATE chain_transactions
   SET last_result = %(reply)s
 WHERE id = %(attempt_id)s AND state = 'broadcasting';

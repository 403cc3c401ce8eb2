-- Notes what a node said to a broadcast. It decides nothing, and comes too late for an attempt that was seen in a block in the
-- meantime: that row is left alone.
-- A refusal stays until a node takes the bytes or refuses them for another reason: that one knows them already (a node
-- remembers what it refused), or that none answered, says nothing of why they were refused.
UPDATE chain_transactions
   SET last_result = %(reply)s
 WHERE id = %(attempt_id)s AND state = 'broadcasting'
   AND (last_result LIKE 'refused: %%' AND %(reply)s !~ '^(refused|accepted): ') IS NOT TRUE;

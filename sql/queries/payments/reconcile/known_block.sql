-- The final block that holds the newest transaction of a sender below a nonce: what used that nonce is not before it. No
-- row: none is recorded.
SELECT a.block_number
  FROM chain_transactions a
 WHERE a.chain_id = %(chain_id)s AND a.sender = %(sender)s AND a.nonce < %(nonce)s AND a.state IN ('final', 'reverted')
 ORDER BY a.nonce DESC
 LIMIT 1;

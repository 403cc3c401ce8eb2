-- The next nonces of a sender, up to the last that a node's mempool holds, are to be used by self-transfers. How many are new.
SELECT void_nonces(%(chain_id)s, %(sender)s, %(last)s) AS voided;

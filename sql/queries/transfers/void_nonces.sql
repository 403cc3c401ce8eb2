-- Nonces that the chain waits for and no payment of ours has: to be filled. How many are new.
SELECT void_nonces(%(chain_id)s, %(sender)s, %(first)s, %(last)s) AS voided;

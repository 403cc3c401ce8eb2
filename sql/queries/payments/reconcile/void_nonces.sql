-- The next nonces of a sender, up to the last that a node's pool holds, are to be filled. How many are new.
SELECT void_nonces(%(chain_id)s, %(sender)s, %(last)s) AS voided;

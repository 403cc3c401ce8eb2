-- The void nonce goes to the gap that fills it.
SELECT reserve_gap(%(nonce_id)s, %(transfer_id)s) AS nonce;

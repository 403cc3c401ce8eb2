-- The void nonce goes to the gap that fills it.
SELECT reserve_gap(%(nonce_id)s, %(bundle_id)s) AS nonce;

-- The nonce of a bundle for which nothing was signed (sql/functions/nonces.sql). Run after refuse.sql, in its commit.
SELECT give_back_nonce(%(bundle_id)s) AS nonce;

-- The nonce of a bundle (sql/functions/nonces.sql), in the commit that asks for its signature. NULL: it is not to be signed any more.
SELECT reserve_nonce(%(bundle_id)s, %(counted)s) AS nonce;

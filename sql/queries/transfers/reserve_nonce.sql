-- The nonce of an unsigned payment (sql/functions/nonces.sql). Run under the lock of the job's row, in the commit that keeps the
-- bytes. No nonce: the payment is not to be signed any more.
SELECT reserve_nonce(%(transfer_id)s, %(counted)s) AS nonce;

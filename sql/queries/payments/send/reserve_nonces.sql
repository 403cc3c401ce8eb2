-- The nonces of bundles in their order (sql/functions/nonces.sql), in the commit that asks for their signatures. The arrays run in
-- parallel. A bundle without a row is not to be signed any more.
SELECT bundle_id, nonce FROM reserve_nonces(%(bundle_ids)s::bigint[], %(counted)s::bigint[]);

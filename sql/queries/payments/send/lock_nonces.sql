-- The nonces of the sender of a bundle are changed by nobody else, until commit.
SELECT lock_sender(b.chain_id, b.sender) FROM bundles b WHERE b.id = %(bundle_id)s;

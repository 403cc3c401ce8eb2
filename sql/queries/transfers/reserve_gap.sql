-- The void nonce goes to the gap that fills it.
UPDATE nonces SET state = 'reserved', transfer_id = %(transfer_id)s WHERE id = %(nonce_id)s AND state = 'void' RETURNING nonce;

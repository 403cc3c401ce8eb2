-- A gap whose nonce something else has used is filled all the same.
UPDATE transfers SET state = 'rejected', settled_at = clock_timestamp()
 WHERE id = ANY (%(transfer_ids)s::bigint[]) AND kind = 'gap' AND state = 'expired'
RETURNING id;

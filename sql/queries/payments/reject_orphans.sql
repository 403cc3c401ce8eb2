-- Gives up the payments found by lock_orphans, whose jobs are locked. Returns those that really had not been signed.
UPDATE transfers t
   SET state = 'rejected', settled_at = clock_timestamp(),
       error_message = coalesce(t.error_message, 'its job finished before it was signed')
 WHERE t.id = ANY (%(transfer_ids)s::bigint[]) AND t.state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
RETURNING t.id;

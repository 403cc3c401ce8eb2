-- An intent of this job goes on: one whose attempts were proved dead, or whose signature was refused. Run under the lock of the job's
-- row. No row: it is in no such state, or a signature is asked for already.
UPDATE transfers t
   SET state = 'requested'
 WHERE t.id = %(transfer_id)s AND t.job_id = %(job_uuid)s AND t.state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
RETURNING t.id, t.bundle_id;

-- Gives up a payment of this job that nobody is asked to sign: a decision of before, one that was refused, or whose last attempt was
-- proved dead. Run under the lock of the job's row. No row: it may be out, or signed, or was settled.
UPDATE transfers t
   SET state = 'rejected', error_message = %(reason)s, settled_at = clock_timestamp()
 WHERE t.id = %(transfer_id)s AND t.job_id = %(job_uuid)s AND t.state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
RETURNING t.id;

-- Intents of jobs go on: those whose attempts were proved dead, or whose signature was refused. Run under the locks of the jobs'
-- rows. The arrays run in parallel. No row: it is in no such state, or a signature is asked for already.
UPDATE transfers t
   SET state = 'requested'
  FROM unnest(%(transfer_ids)s::bigint[], %(job_uuids)s::uuid[]) AS own (transfer_id, job_id)
 WHERE t.id = own.transfer_id AND t.job_id = own.job_id AND t.state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked')
RETURNING t.id, t.bundle_id, t.job_id, t.asset_on_chain_id AS asset_id;

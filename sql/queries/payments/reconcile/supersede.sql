-- Gives up payments that were asked for before one like them was found on the chain: their jobs decide anew, from what the wallets
-- hold now. Run under the locks of jobs and payments. One that is signed or out by now is left to the chain.
UPDATE transfers
   SET state = 'rejected', settled_at = clock_timestamp(), error_message = %(reason)s
 WHERE id = ANY (%(transfer_ids)s::bigint[]) AND state IN ('requested', 'expired')
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = transfers.bundle_id AND r.state = 'asked')
RETURNING id;

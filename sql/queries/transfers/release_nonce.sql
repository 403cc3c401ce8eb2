-- Gives back the nonce of payments of this job with which nothing was signed, so that later ones do not wait for it.
-- Run under the lock of the job's row.
UPDATE nonces x
   SET state = 'released'
  FROM transfers t
 WHERE t.id = x.transfer_id AND t.job_id = %(job_uuid)s AND t.state IN ('requested', 'expired') AND x.state = 'reserved'
   AND NOT EXISTS (SELECT FROM chain_transactions a
                    WHERE a.chain_id = x.chain_id AND a.sender = x.sender AND a.nonce = x.nonce)
RETURNING x.nonce;

-- Writes an intent, in a bundle of its own. Run under the lock of the job's row, in the commit that asks for its signature.
-- The key counts the job's settled payments of this kind and asset, so that a job retried after a
-- reverted or rejected payment gets a new key, and two workers who think of the same payment the same one.
-- No row: this job has paid this asset already, or a payment of this kind is under way for the wallet. Any other conflict is an
-- error: that of the key says that the payment is made already, that of an id that its sequence is behind.
INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved,
                       idempotency_key)
SELECT %(kind)s, j.id, j.chain_id, j.wallet_id, %(asset_id)s, %(from_address)s, %(to_address)s, %(amount)s,
       %(fee_reserved)s,
       format('%%s:%%s:%%s:%%s', %(kind)s::text, j.id, %(asset_id)s::uuid,
              (SELECT count(*) FROM transfers
                WHERE job_id = j.id AND kind = %(kind)s AND asset_on_chain_id = %(asset_id)s
                  AND state IN ('final', 'reverted', 'rejected')))
  FROM job_logs j
 WHERE j.id = %(job_uuid)s
   AND NOT EXISTS (SELECT FROM transfers
                    WHERE job_id = j.id AND asset_on_chain_id = %(asset_id)s AND state = 'final')
    ON CONFLICT (wallet_id, asset_on_chain_id, kind) WHERE state NOT IN ('final', 'reverted', 'rejected') AND NOT found_on_chain
    DO NOTHING
RETURNING id, bundle_id;

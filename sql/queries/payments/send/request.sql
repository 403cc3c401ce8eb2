-- Writes intents, each in a bundle of its own. Run under the locks of the jobs' rows, in the commit that asks for their signatures.
-- The arrays run in parallel, one element a payment.
--
-- The key counts the job's settled payments of this kind and asset, so that a job retried after a
-- reverted or rejected payment gets a new key, and two workers who think of the same payment the same one.
-- No row: this job has paid this asset already, or a payment of this kind is under way for the wallet. Any other conflict is an
-- error: that of the key says that the payment is made already, that of an id that its sequence is behind.
INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount, fee_reserved,
                       idempotency_key)
SELECT a.kind, j.id, j.chain_id, j.wallet_id, a.asset_id, a.sender, a.receiver, a.amount, a.fee,
       format('%%s:%%s:%%s:%%s', a.kind, j.id, a.asset_id, coalesce(done.settled, 0))
  FROM unnest(%(job_uuids)s::uuid[], %(kinds)s::text[], %(asset_ids)s::uuid[], %(senders)s::text[], %(receivers)s::text[],
              %(amounts)s::numeric[], %(fees)s::numeric[])
       WITH ORDINALITY AS a (job_id, kind, asset_id, sender, receiver, amount, fee, place)
  JOIN job_logs j ON j.id = a.job_id
 CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE t.kind = a.kind AND t.state IN ('final', 'reverted', 'rejected')) AS settled,
               coalesce(bool_or(t.state = 'final'), false) AS is_paid
          FROM transfers t WHERE t.job_id = j.id AND t.asset_on_chain_id = a.asset_id) done
 WHERE NOT done.is_paid
   -- Else the bundle that it gets would be left behind empty; the conflict is for those of this very moment.
   AND NOT EXISTS (SELECT FROM transfers live
                    WHERE live.wallet_id = j.wallet_id AND live.asset_on_chain_id = a.asset_id AND live.kind = a.kind
                      AND live.state NOT IN ('final', 'reverted', 'rejected') AND NOT live.found_on_chain)
 ORDER BY a.place
    ON CONFLICT (wallet_id, asset_on_chain_id, kind) WHERE state NOT IN ('final', 'reverted', 'rejected') AND NOT found_on_chain
    DO NOTHING
RETURNING id, bundle_id, job_id, asset_on_chain_id AS asset_id;

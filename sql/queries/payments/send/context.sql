-- What is known of the wallets and payments behind a batch of claimed jobs: the wallet as it is now, the payments that
-- are under way for it with the signature that is asked for (one row each, this job's own first; a job without any has
-- one row), and what this job has paid already. What a job has paid it never pays again.
SELECT j.id AS job_uuid,
       w.id AS wallet_id,
       w.address,
       w.derivation_index,
       w.needs_gas,
       w.needs_consolidation,
       (SELECT max(b.block_number) FROM balance_state b WHERE b.wallet_id = w.id) AS known_block,
       t.id AS transfer_id,
       t.job_id AS transfer_job,
       t.state AS transfer_state,
       t.asset_on_chain_id AS asset_id,
       t.from_address,
       t.to_address,
       t.amount,
       s.symbol,
       s.decimals,
       s.contract_address,
       s.transfer_tolerance,
       r.request_id,
       r.bundle_id,
       r.parameters,
       r.unsigned_bytes,
       NULL::bytea AS replaced_bytes,
       coalesce(r.expiration < clock_timestamp(), false) AS is_over,
       coalesce((SELECT o.status IN ('pending', 'active', 'retrying') FROM job_logs o WHERE o.id = t.job_id), false) AS is_wanted,
       t.kind,
       paid.payments AS paid
  FROM unnest(%(job_ids)s::uuid[]) AS asked (id)
  JOIN job_logs j ON j.id = asked.id
  JOIN wallets w ON w.id = j.wallet_id
  LEFT JOIN transfers t ON t.wallet_id = w.id AND t.kind = %(kind)s AND t.state NOT IN ('final', 'reverted', 'rejected')
  LEFT JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
  LEFT JOIN signing_requests r ON r.bundle_id = t.bundle_id AND r.state = 'asked' AND r.replaces IS NULL
  LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('asset', p.asset_on_chain_id, 'transfer', p.id, 'txid', x.txid)
                         ORDER BY p.id) AS payments
          FROM transfers p
          LEFT JOIN chain_transactions x ON x.bundle_id = p.bundle_id AND x.state = 'final'
         WHERE p.job_id = j.id AND p.state = 'final') paid ON true
 ORDER BY j.id, (t.job_id = j.id) DESC, r.nonce, t.id;

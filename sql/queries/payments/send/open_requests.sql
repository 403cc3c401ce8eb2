-- Signatures that are asked for and that nobody is about to keep, of some kinds of payments: of one sender, who is to pay now, or of
-- the whole chain. In the order of their nonces, one row a payment.
SELECT r.request_id,
       r.bundle_id,
       r.parameters,
       r.unsigned_bytes,
       old.signed_bytes AS replaced_bytes,
       coalesce(r.expiration < clock_timestamp(), false) AS is_over,
       r.replaces IS NOT NULL OR t.kind = 'gap' OR j.status IN ('pending', 'active', 'retrying') AS is_wanted,
       t.id AS transfer_id,
       t.kind,
       t.job_id AS transfer_job,
       t.asset_on_chain_id AS asset_id,
       t.from_address,
       t.to_address,
       t.amount,
       s.symbol,
       s.decimals,
       s.contract_address,
       s.transfer_tolerance,
       w.id AS wallet_id,
       w.address,
       w.derivation_index
  FROM signing_requests r
  JOIN transfers t ON t.bundle_id = r.bundle_id
  JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
  LEFT JOIN job_logs j ON j.id = t.job_id
  LEFT JOIN wallets w ON w.id = t.wallet_id OR (t.wallet_id IS NULL AND w.chain_id = t.chain_id AND w.address = t.from_address)
  LEFT JOIN chain_transactions old ON old.id = r.replaces
 WHERE r.state = 'asked' AND r.chain_id = %(chain_id)s AND (%(sender)s::text IS NULL OR r.sender = %(sender)s)
   AND t.kind = ANY (%(kinds)s::text[])
   AND is_abandoned(r, CASE WHEN %(sender)s::text IS NULL THEN interval '10 seconds' ELSE interval '2 seconds' END)
 ORDER BY r.sender, r.nonce, r.created_at, r.request_id, t.id
 LIMIT %(limit)s;

-- Every attempt of one chain that may be in a block, with what it was meant to do: a row for each payment that it carries.
SELECT a.id AS attempt_id,
       a.txid,
       a.signed_bytes,
       a.sender,
       a.fee_cap,
       a.nonce,
       a.ref_block,
       a.expiration,
       a.state,
       a.block_number,
       a.block_id,
       a.first_broadcast_at,
       a.bundle_id,
       t.id AS transfer_id,
       t.kind,
       t.job_id,
       t.from_address,
       t.to_address,
       t.amount,
       s.symbol,
       s.decimals,
       s.contract_address,
       s.transfer_tolerance,
       coalesce(w.address, t.from_address) AS wallet
  FROM chain_transactions a
  JOIN transfers t ON t.bundle_id = a.bundle_id
  JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
  LEFT JOIN wallets w ON w.id = t.wallet_id
 WHERE a.chain_id = %(chain_id)s AND a.state IN ('broadcasting', 'included');

-- Payments of these kinds that are to be replaced with higher fees: the newest attempt, which names the fees to be
-- raised, and what else their sender has promised (coins and fees, native raw units). `overdue`: the newest attempt is out for
-- longer than a payment may be first in its nonce queue (pipeline/payments/settle/nonce_queue.py).
SELECT t.id AS transfer_id,
       t.bundle_id,
       t.asset_on_chain_id AS asset_id,
       t.kind,
       t.job_id,
       t.from_address,
       t.to_address,
       t.amount,
       s.symbol,
       s.decimals,
       s.contract_address,
       s.transfer_tolerance,
       w.id AS wallet_id,
       w.address AS wallet,
       w.derivation_index,
       a.id AS attempt_id,
       a.txid,
       a.signed_bytes,
       a.sender,
       a.fee_cap,
       a.nonce,
       a.ref_block,
       a.expiration,
       others.promised,
       a.first_broadcast_at < clock_timestamp() - greatest(interval '5 minutes', 5 * k.replace_after_blocks * k.block_time) AS overdue
  FROM transfers t
  JOIN chains k ON k.id = t.chain_id
  JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
  LEFT JOIN wallets w ON w.id = t.wallet_id OR (t.wallet_id IS NULL AND w.chain_id = t.chain_id AND w.address = t.from_address)
  JOIN LATERAL (
        SELECT * FROM chain_transactions
         WHERE bundle_id = t.bundle_id AND state = 'broadcasting' ORDER BY attempt DESC LIMIT 1) a ON true
 CROSS JOIN LATERAL (
        SELECT coalesce(sum(owed.amount), 0) AS promised
          FROM (SELECT max(x.fee_cap) + CASE WHEN p.contract THEN 0 ELSE max(p.amount) END AS amount
                  FROM (SELECT o.id, o.bundle_id, o.amount, c.contract_address IS NOT NULL AS contract
                          FROM transfers o JOIN asset_on_chain c ON c.id = o.asset_on_chain_id
                         WHERE o.chain_id = t.chain_id AND o.from_address = t.from_address AND o.id <> t.id
                           AND o.state = 'broadcasting') p
                  JOIN chain_transactions x ON x.bundle_id = p.bundle_id AND x.state = 'broadcasting'
                 GROUP BY p.id, p.contract) owed) others
 WHERE t.chain_id = %(chain_id)s AND t.kind = ANY (%(kinds)s::text[])
   AND t.state = 'broadcasting' AND t.replace_wanted_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM signing_requests open WHERE open.bundle_id = t.bundle_id AND open.state = 'asked')
 ORDER BY a.nonce
 LIMIT %(limit)s;

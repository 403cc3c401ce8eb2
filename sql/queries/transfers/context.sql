-- What is known of the wallets and payments behind a batch of claimed jobs, one row per job:
-- the wallet as it is now, the payment that is under way for it (this job's own first), and whether
-- this job has been paid already. A job that was paid never pays again.
SELECT j.id AS job_uuid,
       w.id AS wallet_id,
       w.address,
       w.derivation_index,
       w.needs_gas,
       w.needs_consolidation,
       (SELECT max(b.block_number) FROM wallet_balances b WHERE b.wallet_id = w.id) AS known_block,
       t.id AS transfer_id,
       t.job_id AS transfer_job,
       t.state AS transfer_state,
       t.asset_on_chain_id AS asset_id,
       t.from_address,
       t.to_address,
       t.amount,
       a.id AS attempt_id,
       a.state AS attempt_state,
       a.txid,
       a.signed_bytes,
       a.sender,
       a.fee_cap,
       a.nonce,
       a.ref_block,
       a.expiration,
       paid.id AS paid_transfer,
       paid.txid AS paid_txid
  FROM unnest(%(job_ids)s::uuid[]) AS asked (id)
  JOIN job_logs j ON j.id = asked.id
  JOIN wallets w ON w.id = j.wallet_id
  LEFT JOIN LATERAL (
        SELECT * FROM transfers
         WHERE wallet_id = w.id AND kind = %(kind)s AND state NOT IN ('final', 'reverted', 'rejected')
         ORDER BY (job_id = j.id) DESC, (state IN ('broadcasting', 'included')) DESC, id
         LIMIT 1) t ON true
  LEFT JOIN LATERAL (
        SELECT * FROM chain_transactions
         WHERE transfer_id = t.id ORDER BY attempt DESC LIMIT 1) a ON true
  LEFT JOIN LATERAL (
        SELECT p.id, x.txid
          FROM transfers p
          LEFT JOIN chain_transactions x ON x.transfer_id = p.id AND x.state = 'final'
         WHERE p.job_id = j.id AND p.state = 'final'
         LIMIT 1) paid ON true;

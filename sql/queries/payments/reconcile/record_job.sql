-- The job of a payment that was found on the chain and was not recorded: done, before anybody asked for it.
INSERT INTO job_logs (job_type, status, wallet_id, wallet_address, chain_id, triggered_by, started_at, completed_at, data)
SELECT %(job_type)s, 'completed', w.id, w.address, w.chain_id, 'system', clock_timestamp(), clock_timestamp(),
       jsonb_build_object('outcome', 'found on the chain', 'txid', %(txid)s::text, 'block', %(block_number)s::bigint,
                          'amount', %(amount)s::text, 'fee', %(fee)s::text)
  FROM wallets w
 WHERE w.id = %(wallet_id)s
RETURNING id;

-- The rules of one chain as they stand at this moment: one row per active asset, the native coin first.
-- Read again for every batch, so that a changed threshold takes effect while the system runs.
SELECT c.id AS chain_id,
       c.name AS chain,
       c.gas_policy,
       c.gas_execute_below,
       c.gas_amount,
       c.gas_max_per_topup,
       c.fee_reserve,
       c.fee_max,
       c.topup_fee_multiple,
       extract(epoch FROM c.block_time)::float8 AS block_seconds,
       extract(epoch FROM c.transaction_lifetime)::float8 AS lifetime_seconds,
       a.id AS asset_id,
       a.symbol,
       a.decimals,
       a.contract_address,
       a.consolidate_execute_min,
       a.transfer_tolerance
  FROM chains c
  JOIN asset_on_chain a ON a.chain_id = c.id AND (a.is_active OR a.contract_address IS NULL)
 WHERE c.id = %(chain_id)s
 ORDER BY a.contract_address IS NOT NULL, a.id;

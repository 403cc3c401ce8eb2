-- What the gas wallet was asked for after a top-up: native raw units without fees, and how often. Run under lock_gas.
SELECT coalesce(sum(amount), 0) AS amount, count(*) AS payments
  FROM transfers
 WHERE id > %(after)s AND chain_id = %(chain_id)s AND kind IN ('gas', 'gap') AND from_address = %(gas_address)s
   AND state <> 'rejected';

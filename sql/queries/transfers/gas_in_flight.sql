-- What the gas wallet has promised and its final balance does not show yet: native raw units with fees.
-- The payments of the asking jobs themselves are left out when they are about to be decided anew.
SELECT coalesce(sum(t.amount + coalesce(a.fee_cap, 0)), 0) AS promised
  FROM transfers t
  LEFT JOIN chain_transactions a ON a.transfer_id = t.id AND a.state IN ('signed', 'broadcasting', 'included')
 WHERE t.chain_id = %(chain_id)s AND t.kind = 'gas'
   AND t.state IN ('requested', 'signed', 'broadcasting', 'included')
   AND NOT (t.state = 'requested' AND t.job_id = ANY (%(job_ids)s::uuid[]));

-- What the gas wallet has promised and its final balance does not show yet: native raw units with fees, of several
-- attempts of a payment the most expensive, because one of them lands. `unsigned` counts those that name no fee (older versions'),
-- `newest` is the last top-up that this knows of: they are written one after the other (lock_gas). The payments of the
-- asking jobs themselves are left out when they are about to be decided anew.
SELECT coalesce(sum(t.amount + coalesce(a.fee_cap, t.fee_reserved, 0)), 0) AS promised,
       count(*) FILTER (WHERE a.fee_cap IS NULL AND t.fee_reserved IS NULL) AS unsigned,
       coalesce((SELECT max(id) FROM transfers WHERE chain_id = %(chain_id)s AND kind = 'gas'), 0) AS newest
  FROM transfers t
  LEFT JOIN LATERAL (
        SELECT share_of_fee(t, max(r.fee_cap)) AS fee_cap FROM signing_requests r
         WHERE r.bundle_id = t.bundle_id AND r.state <> 'refused') a ON true
 WHERE t.chain_id = %(chain_id)s AND (t.kind = 'gas' OR (t.kind = 'gap' AND t.from_address = %(gas_address)s))
   AND t.state IN ('requested', 'broadcasting', 'included')
   AND NOT (t.state = 'requested' AND t.job_id IS NOT NULL AND t.job_id = ANY (%(job_ids)s::uuid[]));

-- How many flags rose since a moment among some wallets: for the line that the sync logs.
SELECT count(*) FILTER (WHERE needs_gas AND needs_gas_since >= %(since)s) AS gas,
       count(*) FILTER (WHERE needs_consolidation AND consolidation_ready_since >= %(since)s) AS consolidation
FROM wallets WHERE id = ANY (%(wallet_ids)s::uuid[])

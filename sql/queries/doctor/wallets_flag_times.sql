-- Flags that are up since nobody knows when: triggers/flag_times.sql did not fire. Such a flag counts as old as its wallet.
SELECT count(*) AS wallets, (array_agg(f.address ORDER BY f.id))[:3] AS examples, (array_agg(f.id ORDER BY f.id))[:100] AS ids
FROM (
    SELECT w.id, w.address, w.needs_gas, w.needs_gas_since, w.needs_consolidation, w.needs_consolidation_since,
           w.consolidation_ready_since
    FROM wallets w
    WHERE w.wanted_job IS NOT NULL
    ORDER BY w.wanted_job, w.wanted_since, w.id
    LIMIT %(newest)s::bigint
) f
WHERE (f.needs_gas AND f.needs_gas_since IS NULL)
   OR (f.needs_consolidation AND f.needs_consolidation_since IS NULL)
   OR (f.needs_consolidation AND NOT f.needs_gas AND f.consolidation_ready_since IS NULL)
HAVING count(*) > 0

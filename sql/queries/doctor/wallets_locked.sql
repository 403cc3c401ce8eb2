-- Balances that are locked for longer than any sync locks them: nobody reads them before.
SELECT count(*) AS balances, max(b.locked_until)::text AS latest, (array_agg(b.locked_by))[1] AS locked_by,
       (array_agg(b.id))[:100] AS ids
FROM wallet_balances b
WHERE b.processing_status = 'processing'
  AND b.locked_until > now() + greatest(make_interval(secs => 2 * %(lock_seconds)s), interval '2 hours')
HAVING count(*) > 0

-- Gives claimed jobs back unfinished: another worker may take them at once, no attempt is used up.
--
-- Guarantees: only attempts whose lease is still ours, and that have not been handed over to the chain.
UPDATE job_logs j SET status = 'pending', leased_by = NULL, lease_deadline = NULL
FROM unnest(%(ids)s::uuid[], %(leases)s::bigint[]) AS ours (id, lease)
WHERE j.id = ours.id
  AND j.lease = ours.lease AND CASE j.status WHEN 'active' THEN NOT j.awaiting_chain ELSE false END
RETURNING j.id

-- Flags older than two sweeps without a live job and without a dead letter that they wait for. Reads the 5,000 oldest of each
-- kind.
SELECT job.type AS job_type, c.name AS chain, count(*) AS wallets, now() - min(f.wanted_since) AS since,
       (array_agg(f.address ORDER BY f.wanted_since))[:3] AS examples, (array_agg(f.id ORDER BY f.wanted_since))[:100] AS ids,
       CASE WHEN %(paused)s THEN 'note' ELSE 'fail' END AS level
FROM unnest(ARRAY['gas-topup', 'consolidation']) AS job (type)
CROSS JOIN LATERAL (
    SELECT w.id, w.address, w.chain_id, w.wanted_since, w.flagged_since
    FROM wallets w
    WHERE w.wanted_job = job.type AND w.wanted_since < now() - make_interval(secs => 2 * %(sweep_seconds)s + 60)
    ORDER BY w.wanted_xid, w.id
    LIMIT 5000
) f
JOIN chains c ON c.id = f.chain_id AND c.is_active
WHERE NOT EXISTS (
          SELECT FROM job_logs live
          WHERE live.wallet_id = f.id AND live.job_type = job.type
            AND live.completed_at IS NULL OFFSET 0)
  AND NOT EXISTS (
          SELECT FROM job_logs dead
          WHERE dead.wallet_id = f.id AND dead.job_type = job.type
            AND dead.failed_at > now() - make_interval(secs => %(quiet_seconds)s + 2 * %(sweep_seconds)s)
            AND dead.failed_at > f.flagged_since OFFSET 0)
GROUP BY job.type, c.name
ORDER BY job.type, c.name

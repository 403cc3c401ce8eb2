-- Types of worker of which nobody is alive (60 s) though there is work for them, which is critical, or though one was alive within a
-- day. Not those that were told to stop, or scaled to none, and have nothing to do. Of due jobs the first 1,000 are looked at.
WITH of_type AS (
    SELECT t.type,
           EXISTS (SELECT FROM worker_registry w
                   WHERE w.type = t.type AND w.status IN ('running', 'paused') AND w.last_heartbeat > now() - interval '60 seconds')
               AS alive,
           (SELECT max(w.last_heartbeat) FROM worker_registry w WHERE w.type = t.type AND w.desired <> 'stopped') AS last_seen,
           (SELECT max(w.last_heartbeat) FROM worker_registry w WHERE w.type = t.type) AS ever_seen,
           EXISTS (SELECT FROM worker_targets g WHERE g.type = t.type HAVING sum(g.workers) = 0) AS is_scaled_to_none
    FROM worker_types t
), work AS MATERIALIZED (
    SELECT m.*, CASE m.type
        WHEN 'sync' THEN EXISTS (
            SELECT FROM asset_on_chain a JOIN chains c ON c.id = a.chain_id
            WHERE a.is_active AND c.is_active
              AND (EXISTS (SELECT FROM wallet_balances b WHERE b.asset_on_chain_id = a.id AND b.next_check_at < now() - c.sync_interval)
                   OR EXISTS (SELECT FROM sync_pages p WHERE p.asset_on_chain_id = a.id AND p.next_check_at < now() - c.sync_interval)))
        WHEN 'confirmations' THEN EXISTS (SELECT FROM chain_transactions a WHERE a.state IN ('broadcasting', 'included'))
        ELSE m.type IN ('gas-topup', 'consolidation') AND EXISTS (
            SELECT FROM (
                -- In the order of claims, so that it is read by their index.
                SELECT j.chain_id FROM job_logs j
                WHERE j.job_type = m.type AND j.completed_at IS NULL AND j.queued AND NOT j.awaiting_chain
                  AND j.run_at < now() - interval '60 seconds'
                ORDER BY j.priority DESC, j.run_at, j.seq
                LIMIT 1000) due
            JOIN chains c ON c.id = due.chain_id AND c.is_active)
    END AS is_due
    FROM of_type m
    WHERE NOT m.alive
)
SELECT w.type, CASE WHEN %(paused)s THEN 'note' WHEN w.is_due THEN 'fail' ELSE 'warn' END AS level,
       CASE WHEN w.is_due THEN 'work is due' ELSE 'one was alive within a day' END AS why,
       how_to_start(w.type) AS start,
       coalesce('the last one was seen ' || date_trunc('second', w.ever_seen AT TIME ZONE 'UTC')::text || ' UTC', 'none ever ran') AS seen
FROM work w
WHERE w.is_due OR (w.last_seen > now() - interval '1 day' AND NOT w.is_scaled_to_none)
ORDER BY w.type

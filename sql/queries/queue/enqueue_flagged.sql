-- Queues a job for each flagged wallet of a batch that has no live job, and says where to go on. after_failure
-- counts those among them that had rested since a dead letter: nobody missed them.
--
-- Guarantees: one live job per wallet and type, whoever else inserts at this moment; the same rest for
-- dead letters and inactive chains as in queue/enqueue_and_claim. Flags younger than %(min_age_seconds)s
-- are left to the listener that is about to take them. A job_id that is taken is an error, as there.
--
-- The limit is hidden from the planner, who thinks that fewer wallets are left than that, and would read and sort all of them
-- for every page.
--
-- OFFSET 0 keeps the probes of job_logs apart: joined, they are planned as scans of the whole queue for every
-- wallet whenever the statistics are older than a burst.
--
-- Pages by the transaction of the flag, oldest first: after_xid is NULL for the first one, next_xid and next_wallet_id are NULL
-- behind the last. One bound alone, because the index is entered by the first that is given. Flags whose
-- transaction is before %(flags_since)s are left out, as in queue/enqueue_and_claim.
WITH flagged AS (
    SELECT w.id AS wallet_id, w.address, w.chain_id, w.user_id, w.wanted_since, w.wanted_xid,
           EXISTS (
               SELECT FROM job_logs dead
               WHERE dead.wallet_id = w.id AND dead.job_type = %(job_type)s AND dead.failed_at > w.flagged_since) AS rested
    FROM wallets w
    WHERE w.wanted_job = %(job_type)s
      AND (w.wanted_xid, w.id) > (
          coalesce(%(after_xid)s::xid8, (
              SELECT CASE WHEN from_xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN from_xid ELSE '0' END
              FROM (SELECT %(flags_since)s::xid8 AS from_xid) AS given)),
          %(after_wallet_id)s::uuid)
      AND w.chain_id = ANY (ARRAY(
          SELECT id FROM chains
          WHERE is_active AND (%(chain_ids)s::integer[] IS NULL OR id = ANY (%(chain_ids)s::integer[]))))
      AND w.wanted_since <= now() - make_interval(secs => %(min_age_seconds)s)
      AND NOT EXISTS (
          SELECT FROM job_logs live
          WHERE live.wallet_id = w.id AND live.job_type = %(job_type)s
            AND live.completed_at IS NULL OFFSET 0)
      AND NOT EXISTS (
          SELECT FROM job_logs dead
          WHERE dead.wallet_id = w.id AND dead.job_type = %(job_type)s
            AND dead.failed_at > now() - make_interval(secs => %(quiet_seconds)s)
            AND dead.failed_at > w.flagged_since AND dead.failed_at < now() + interval '1 minute' OFFSET 0)
    ORDER BY w.wanted_xid, w.id
    LIMIT (SELECT %(batch)s::bigint)
), numbered AS (
    SELECT f.*, nextval('job_logs_seq') AS seq FROM flagged f
), enqueued AS (
    INSERT INTO job_logs (seq, job_id, job_type, wallet_id, wallet_address, chain_id, user_id, triggered_by, max_retries,
                          run_at, data)
    SELECT n.seq, %(job_type)s || '-' || n.seq, %(job_type)s, n.wallet_id, n.address, n.chain_id, n.user_id,
           %(triggered_by)s, %(max_retries)s, least(n.wanted_since, now()),
           jsonb_build_object('flagged_at', n.wanted_since)
               || CASE WHEN n.rested THEN '{"after_failure": true}'::jsonb ELSE '{}' END
    FROM numbered n
    ORDER BY n.chain_id, n.wallet_id
    ON CONFLICT (wallet_id, job_type) WHERE completed_at IS NULL DO NOTHING
    RETURNING data ? 'after_failure' AS after_failure
)
SELECT done.enqueued, done.after_failure, last.wanted_xid::text AS next_xid, last.wallet_id AS next_wallet_id
FROM (SELECT count(*) AS found FROM flagged) AS page
CROSS JOIN (
    SELECT count(*) AS enqueued, count(*) FILTER (WHERE after_failure) AS after_failure FROM enqueued
) AS done
LEFT JOIN LATERAL (
    SELECT f.wanted_xid, f.wallet_id FROM flagged f ORDER BY f.wanted_xid DESC, f.wallet_id DESC LIMIT 1
) AS last ON page.found = %(batch)s

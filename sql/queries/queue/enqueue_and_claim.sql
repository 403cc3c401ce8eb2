-- One round trip on wake-up: claims due jobs, then takes flagged wallets that have no live job straight
-- into 'active' while there is room, and queues the rest of a bounded batch. With a batch of 0 it only claims.
--
-- Guarantees: a job is claimed by one worker (SKIP LOCKED), its lease is raised, and it carries a deadline
-- past which it is rescued even from a live worker; one live job per wallet and type, whoever else inserts
-- at this moment; a wallet whose last job of this type failed after its flag rose rests for the quiet
-- period (an end that lies ahead was written by a wrong clock, and is not believed);
-- inactive chains are left alone. While due jobs fill the capacity no flag is read. A job_id that is taken is an error
-- and no job less: its sequence is behind (pipeline/db/sequences.py).
--
-- Flags whose transaction is before %(flags_since)s are left out; '0' leaves none out, nor does a number that no transaction of this
-- server has reached (it comes from another one). Every flag that ever rose leaves an entry in the index by which they are read,
-- until vacuum removes it, which it cannot while some session holds an old transaction: a scan from '0' walks over all of those,
-- 0.15 µs each (pipeline/queue/schedule.py says from where which scan begins). So does every job that ever waited in its index:
-- those that fell due longer ago than %(due_within_seconds)s are not visited (NULL: all are; before Postgres 18 their entries are
-- read, a tenth of the cost).
--
-- OFFSET 0 keeps the probes of job_logs apart: joined, they are planned as scans of the whole queue for every
-- wallet whenever the statistics are older than a burst.
--
-- A claim writes no column that an index knows of (migration 0010): the entries of jobs that run stay in job_logs_claim until they
-- end, and their rows say that they do not wait.
--
-- The claimed ids go through an array on purpose: written as a join with a CTE the plan flips to a scan of
-- the whole table. Rows are inserted in the order of (chain, wallet), so that two of these cannot deadlock.
WITH claimed AS (
    UPDATE job_logs SET
        status = 'active',
        lease = lease + 1,
        leased_by = %(worker_id)s,
        lease_deadline = now() + make_interval(secs => %(deadline_seconds)s),
        started_at = now(),
        updated_at = now(),
        -- run_at of a first attempt is the time of the flag, or of the insert by hand.
        data = CASE WHEN data ? 'wait_ms' THEN data ELSE data || jsonb_build_object(
            'wait_ms', greatest(0, round(extract(epoch FROM now() - run_at) * 1000, 3))) END
    WHERE id = ANY (ARRAY(
        SELECT id FROM job_logs
        WHERE job_type = %(job_type)s AND queued AND NOT awaiting_chain
          AND status IN ('pending', 'retrying') AND run_at <= now()
          AND run_at >= coalesce(now() - make_interval(secs => %(due_within_seconds)s), '-infinity')
          AND chain_id = ANY (ARRAY(
              SELECT id FROM chains
              WHERE is_active AND (%(chain_ids)s::integer[] IS NULL OR id = ANY (%(chain_ids)s::integer[]))))
        ORDER BY priority DESC, run_at, seq
        LIMIT %(capacity)s
        FOR UPDATE SKIP LOCKED))
    RETURNING id, job_id, wallet_id, wallet_address, chain_id, lease, retry_count, max_retries, triggered_by,
              data::text AS data, status
), room AS (
    SELECT %(capacity)s - count(*) AS places FROM claimed
), flagged AS (
    SELECT w.id AS wallet_id, w.address, w.chain_id, w.user_id, w.wanted_since, w.wanted_xid
    FROM wallets w
    WHERE w.wanted_job = %(job_type)s
      AND w.chain_id = ANY (ARRAY(
          SELECT id FROM chains
          WHERE is_active AND (%(chain_ids)s::integer[] IS NULL OR id = ANY (%(chain_ids)s::integer[]))))
      AND w.wanted_since <= now() - make_interval(secs => %(min_age_seconds)s)
      AND w.wanted_xid >= (
          SELECT CASE WHEN from_xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN from_xid ELSE '0' END
          FROM (SELECT %(flags_since)s::xid8 AS from_xid) AS given)
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
    LIMIT CASE WHEN (SELECT places FROM room) > 0 THEN %(batch)s ELSE 0 END
), numbered AS (
    SELECT f.*, nextval('job_logs_seq') AS seq,
           row_number() OVER (ORDER BY f.wanted_xid, f.wallet_id) <= (SELECT places FROM room) AS at_once
    FROM flagged f
), enqueued AS (
    INSERT INTO job_logs (seq, job_id, job_type, wallet_id, wallet_address, chain_id, user_id, triggered_by, max_retries,
                          run_at, status, queued, lease, leased_by, lease_deadline, started_at, data)
    SELECT n.seq, %(job_type)s || '-' || n.seq, %(job_type)s, n.wallet_id, n.address, n.chain_id, n.user_id,
           %(triggered_by)s, %(max_retries)s, least(n.wanted_since, now()),
           CASE WHEN n.at_once THEN 'active' ELSE 'pending' END,
           NOT n.at_once,
           n.at_once::integer,
           CASE WHEN n.at_once THEN %(worker_id)s END,
           CASE WHEN n.at_once THEN now() + make_interval(secs => %(deadline_seconds)s) END,
           CASE WHEN n.at_once THEN now() END,
           CASE WHEN n.at_once THEN jsonb_build_object(
               'flagged_at', n.wanted_since,
               'wait_ms', greatest(0, round(extract(epoch FROM now() - n.wanted_since) * 1000, 3)))
           ELSE jsonb_build_object('flagged_at', n.wanted_since) END
    FROM numbered n
    ORDER BY n.chain_id, n.wallet_id
    ON CONFLICT (wallet_id, job_type) WHERE completed_at IS NULL DO NOTHING
    RETURNING id, job_id, wallet_id, wallet_address, chain_id, lease, retry_count, max_retries, triggered_by,
              data::text AS data, status
)
SELECT * FROM claimed
UNION ALL
SELECT * FROM enqueued WHERE status = 'active'

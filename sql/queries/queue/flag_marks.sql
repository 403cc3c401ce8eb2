-- Where flag scans of a job type begin, to be read before one that reads everything:
--
--   standing   no flag that is up now, and none that this statement does not see yet, is of an earlier transaction
--   unseen     nor is any that this statement does not see yet
--
-- %(flags_since)s is the `standing` of the time before, '0' the first time; what has not begun on this server counts as '0', as in
-- queue/enqueue_and_claim.
SELECT least(
           pg_snapshot_xmin(pg_current_snapshot()),
           (SELECT w.wanted_xid FROM wallets w
            WHERE w.wanted_job = %(job_type)s
              AND w.wanted_xid >= (
                  SELECT CASE WHEN from_xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN from_xid ELSE '0' END
                  FROM (SELECT %(flags_since)s::xid8 AS from_xid) AS given)
            ORDER BY w.wanted_xid
            LIMIT 1)
       )::text AS standing,
       pg_snapshot_xmin(pg_current_snapshot())::text AS unseen

-- From which transaction on jobs that wait or run have entered: none that is there now, and none that this statement does not see
-- yet, has an earlier one. To be read before what is bounded by it. %(entered_since)s is what this gave before, '0' the first
-- time; what has not begun on this server, because it comes from another one, counts as '0'.
SELECT least(
    pg_snapshot_xmin(pg_current_snapshot()),
    (SELECT j.entered_xid FROM job_logs j
     WHERE j.completed_at IS NULL AND NOT j.awaiting_chain
       AND j.entered_xid >= (
           SELECT CASE WHEN from_xid <= pg_snapshot_xmin(pg_current_snapshot()) THEN from_xid ELSE '0' END
           FROM (SELECT %(entered_since)s::xid8 AS from_xid) AS given)
     ORDER BY j.entered_xid
     LIMIT 1)
)::text AS entered_since

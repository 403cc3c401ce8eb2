-- Attempts that nobody rescues: past their deadline for 10 minutes though any process would take them, or with a deadline later
-- than any is given.
SELECT count(*) AS jobs, l.too_late, min(l.lease_deadline)::text AS earliest, max(l.lease_deadline)::text AS latest,
       (array_agg(l.job_id))[:3] AS examples, (array_agg(l.id))[:100] AS ids,
       CASE WHEN l.too_late THEN 'have a deadline later than any is given' ELSE 'are past their deadline and are not rescued'
       END AS why
FROM (
    SELECT j.id, j.job_id, j.lease_deadline, j.lease_deadline > now() AS too_late
    FROM job_logs j
    WHERE j.completed_at IS NULL AND j.status = 'active' AND NOT j.awaiting_chain
      AND (j.lease_deadline < now() - interval '10 minutes'
           OR j.lease_deadline > now() + make_interval(secs => 2 * %(deadline_seconds)s) + interval '1 hour')
    LIMIT 1000
) l
GROUP BY l.too_late

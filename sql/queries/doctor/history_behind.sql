-- Finished jobs that ought to have moved to job_history two days ago. Among the 10,000 with the lowest ids, which are the oldest.
SELECT count(*) AS jobs, now() - min(j.completed_at) AS since, (array_agg(j.id))[:100] AS ids
FROM (SELECT l.id, l.status, l.completed_at, l.wallet_id, l.job_type, l.data FROM job_logs l ORDER BY l.id LIMIT 10000) j
WHERE j.completed_at >= '2000-01-01 00:00:00+00'
  AND j.completed_at < now() - make_interval(secs => 86400 * (2 + CASE j.status WHEN 'failed' THEN %(move_failed_after_days)s
                                                                                ELSE %(move_after_days)s END))
  AND j.data #> '{adopted,frozen}' IS NULL
  AND NOT EXISTS (SELECT FROM transfers t WHERE t.open_job_id = j.id)
  AND NOT (j.status = 'failed' AND EXISTS (
      SELECT FROM wallets w WHERE w.id = j.wallet_id AND w.wanted_job = j.job_type AND j.completed_at > w.flagged_since))
HAVING count(*) > 0

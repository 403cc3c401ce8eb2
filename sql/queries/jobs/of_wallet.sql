-- The same for the wallets of one address, however many jobs there are of others: live jobs, ended ones and those in job_history, each
-- by the index of its wallet.
WITH named AS (
    SELECT w.id FROM wallets w WHERE w.address = %(wallet)s
)
SELECT j.id, j.job_id, j.job_type, j.status, j.awaiting_chain, j.wallet_address, c.name AS chain, j.triggered_by,
       j.priority, j.retry_count, j.max_retries, j.run_at, j.error_message, j.data, j.created_at, j.started_at,
       j.completed_at, j.in_history
FROM (
    SELECT a.*
    FROM named n
    CROSS JOIN LATERAL (
        (SELECT l.id, l.seq, l.job_id, l.job_type, l.status, l.awaiting_chain, l.wallet_address, l.chain_id, l.triggered_by, l.priority,
                l.retry_count, l.max_retries, l.run_at, l.error_message, l.data, l.created_at, l.started_at, l.completed_at,
                false AS in_history
         FROM job_logs l
         WHERE l.wallet_id = n.id AND l.status IN ('pending', 'active', 'retrying') AND l.completed_at IS NULL)
        UNION ALL
        (SELECT e.id, e.seq, e.job_id, e.job_type, e.status, e.awaiting_chain, e.wallet_address, e.chain_id, e.triggered_by, e.priority,
                e.retry_count, e.max_retries, e.run_at, e.error_message, e.data, e.created_at, e.started_at, e.completed_at, false
         FROM job_logs e
         WHERE e.wallet_id = n.id AND e.completed_at IS NOT NULL
           AND (%(job_type)s::text IS NULL OR e.job_type = %(job_type)s::text)
           AND (%(status)s::text IS NULL OR e.status = %(status)s::text)
           AND (%(triggered_by)s::text IS NULL OR e.triggered_by = %(triggered_by)s::text)
           AND (%(since)s::timestamptz IS NULL OR e.created_at >= %(since)s::timestamptz)
           AND (%(before_created)s::timestamptz IS NULL
                OR (e.created_at <= %(before_created)s::timestamptz
                    AND (e.created_at, e.seq) < (%(before_created)s::timestamptz, %(before_seq)s::bigint)))
         ORDER BY e.created_at DESC, e.seq DESC LIMIT %(limit)s)
        UNION ALL
        (SELECT h.id, h.seq, h.job_id, h.job_type, h.status, false, h.wallet_address, h.chain_id, h.triggered_by, h.priority,
                h.retry_count, h.max_retries, h.run_at, h.error_message, h.data, h.created_at, h.started_at, h.completed_at, true
         FROM job_history h
         WHERE h.wallet_id = n.id
           AND (%(job_type)s::text IS NULL OR h.job_type = %(job_type)s::text)
           AND (%(status)s::text IS NULL OR h.status = %(status)s::text)
           AND (%(triggered_by)s::text IS NULL OR h.triggered_by = %(triggered_by)s::text)
           AND (%(since)s::timestamptz IS NULL OR h.created_at >= %(since)s::timestamptz)
           AND (%(before_created)s::timestamptz IS NULL
                OR (h.created_at <= %(before_created)s::timestamptz
                    AND (h.created_at, h.seq) < (%(before_created)s::timestamptz, %(before_seq)s::bigint)))
         ORDER BY h.created_at DESC, h.seq DESC LIMIT %(limit)s)
    ) a
    WHERE (%(job_type)s::text IS NULL OR a.job_type = %(job_type)s::text)
      AND (%(status)s::text IS NULL OR a.status = %(status)s::text)
      AND (%(triggered_by)s::text IS NULL OR a.triggered_by = %(triggered_by)s::text)
      AND (%(since)s::timestamptz IS NULL OR a.created_at >= %(since)s::timestamptz)
      AND (%(before_created)s::timestamptz IS NULL
           OR (a.created_at, a.seq) < (%(before_created)s::timestamptz, %(before_seq)s::bigint))
    ORDER BY a.created_at DESC, a.seq DESC
    LIMIT %(limit)s
) j
LEFT JOIN chains c ON c.id = j.chain_id
ORDER BY j.created_at DESC, j.seq DESC;

-- One month of job_history as JSON, an object a line, oldest first, on the connection's own stream. As CSV with a quote and a delimiter
-- that JSON has nowhere unescaped: COPY's own text format would double every backslash.
COPY (
    SELECT to_jsonb(j) FROM (
        SELECT h.id, h.seq, h.job_id, h.job_type, h.status, h.wallet_address, h.wallet_id, c.name AS chain, h.user_id, h.triggered_by,
               h.priority, h.data, h.error_message, h.retry_count, h.max_retries, h.run_at, h.started_at, h.completed_at,
               h.created_at, h.updated_at, h.moved_at
        FROM job_history h LEFT JOIN chains c ON c.id = h.chain_id
        WHERE h.completed_at >= %(first)s AND h.completed_at < %(next)s
        ORDER BY h.completed_at, h.id
    ) j
) TO STDOUT (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02')

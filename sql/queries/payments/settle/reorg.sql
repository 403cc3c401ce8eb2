-- Attempts whose block was forked away: broadcasting again, with the very same bytes, due to be sent at once.
WITH attempts AS (
    UPDATE chain_transactions
       SET state = 'broadcasting', block_number = NULL, block_id = NULL, block_time = NULL,
           last_broadcast_at = NULL
     WHERE id = ANY (%(attempt_ids)s::bigint[]) AND state = 'included'
    RETURNING id, bundle_id
), moved AS (
    UPDATE transfers t
       SET state = 'broadcasting'
      FROM attempts
     WHERE t.bundle_id = attempts.bundle_id AND t.state = 'included'
       -- Another attempt of it may stand in a block.
       AND NOT EXISTS (SELECT FROM chain_transactions other
                        WHERE other.bundle_id = t.bundle_id AND other.state = 'included'
                          AND other.id <> ALL (%(attempt_ids)s::bigint[]))
    RETURNING t.id
)
SELECT id FROM attempts;

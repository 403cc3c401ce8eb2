-- Attempts seen in a block (which may still be forked away). An attempt that moved to another block follows it there.
WITH seen AS (
    SELECT * FROM unnest(%(attempt_ids)s::bigint[], %(numbers)s::bigint[], %(block_ids)s::text[], %(times)s::timestamptz[])
        AS s (attempt_id, block_number, block_id, block_time)
), attempts AS (
    UPDATE chain_transactions a
       SET state = 'included', block_number = seen.block_number, block_id = seen.block_id, block_time = seen.block_time
      FROM seen
     WHERE a.id = seen.attempt_id
       AND (a.state = 'broadcasting' OR (a.state = 'included' AND a.block_id IS DISTINCT FROM seen.block_id))
    RETURNING a.id, a.bundle_id
), moved AS (
    UPDATE transfers t
       SET state = 'included'
      FROM attempts
     WHERE t.bundle_id = attempts.bundle_id AND t.state = 'broadcasting'
    RETURNING t.id
)
SELECT id FROM attempts;

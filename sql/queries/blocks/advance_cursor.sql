-- Moves a cursor from the block the reader started at to the one it has read up to. No row: another reader has moved it, and
-- what this one read must not be stored.
INSERT INTO chain_cursors AS c (chain_id, purpose, block_number, block_id, block_time)
VALUES (%(chain_id)s, %(purpose)s, %(block_number)s, %(block_id)s, %(block_time)s)
    ON CONFLICT (chain_id, purpose) DO UPDATE
   SET block_number = excluded.block_number, block_id = excluded.block_id, block_time = excluded.block_time
 WHERE c.block_id = %(expected_id)s
RETURNING block_number;

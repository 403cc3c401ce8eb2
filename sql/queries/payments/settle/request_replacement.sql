-- Asks those who have the keys to offer payments again for more. Returns those that were not asked for already.
UPDATE transfers
   SET replace_wanted_at = clock_timestamp()
 WHERE id = ANY (%(transfer_ids)s::bigint[]) AND state = 'broadcasting' AND replace_wanted_at IS NULL
RETURNING id;

-- Requests replacements of payments from those who can sign. Returns those for which none was requested before.
UPDATE transfers
   SET replace_wanted_at = clock_timestamp()
 WHERE id = ANY (%(transfer_ids)s::bigint[]) AND state = 'broadcasting' AND replace_wanted_at IS NULL
RETURNING id;

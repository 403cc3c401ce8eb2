-- A replacement that could not be made: the payment stays as it is, and says why. It is asked for again if it stays stuck.
UPDATE transfers SET replace_wanted_at = NULL, error_message = %(reason)s
 WHERE id = %(transfer_id)s AND state = 'broadcasting' AND replace_wanted_at IS NOT NULL
RETURNING id;

-- Gives up the payments of a bundle for which nothing was signed. Run after refuse.sql, in its commit.
UPDATE transfers
   SET state = 'rejected', error_message = %(reason)s, settled_at = clock_timestamp()
 WHERE bundle_id = %(bundle_id)s AND state = 'requested'
RETURNING id;

-- The new attempt may be anywhere from this commit on, which must not be lost: a hash that nobody remembers could land
-- and would be taken for somebody else's (see begin_broadcast.sql).
UPDATE chain_transactions
   SET state = 'broadcasting', first_broadcast_at = clock_timestamp(), last_broadcast_at = clock_timestamp(), broadcast_count = 1
 WHERE id = %(attempt_id)s AND state = 'signed'
RETURNING id,
          CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END;

-- Says of senders that they stand still, why, and below which nonce a person has to judge what used them.
UPDATE senders s
   SET stuck = said.reason, stuck_since = coalesce(s.stuck_since, clock_timestamp()),
       unexplained_below = said.unexplained_below
  FROM unnest(%(senders)s::text[], %(reasons)s::text[], %(unexplained)s::bigint[]) AS said (sender, reason, unexplained_below)
 WHERE s.chain_id = %(chain_id)s AND s.sender = said.sender
   AND (s.stuck, s.unexplained_below) IS DISTINCT FROM (said.reason, said.unexplained_below)
RETURNING s.sender;

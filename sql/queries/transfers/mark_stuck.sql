-- Says of senders that they stand still, why, and of which nonces a person has to judge what used them (first and last; NULL: of
-- none).
UPDATE senders s
   SET stuck = said.reason, stuck_since = coalesce(s.stuck_since, clock_timestamp()),
       unexplained = CASE WHEN said.first IS NOT NULL THEN int8range(said.first, said.last, '[]') END
  FROM unnest(%(senders)s::text[], %(reasons)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[])
       AS said (sender, reason, first, last)
 WHERE s.chain_id = %(chain_id)s AND s.sender = said.sender
   AND (s.stuck, lower(s.unexplained), upper(s.unexplained)) IS DISTINCT FROM (said.reason, said.first, said.last + 1)
RETURNING s.sender;

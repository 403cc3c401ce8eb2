-- Stores of senders that they are blocked, why, and of which nonces an operator has to judge what used them (a multirange as text;
-- NULL: of none).
UPDATE senders s
   SET stuck = said.reason, stuck_since = coalesce(s.stuck_since, clock_timestamp()), unexplained = said.unexplained
  FROM (SELECT n.sender, n.reason, n.unexplained::int8multirange AS unexplained
          FROM unnest(%(senders)s::text[], %(reasons)s::text[], %(unexplained)s::text[]) AS n (sender, reason, unexplained)) said
 WHERE s.chain_id = %(chain_id)s AND s.sender = said.sender
   AND (s.stuck, s.unexplained) IS DISTINCT FROM (said.reason, said.unexplained)
RETURNING s.sender;

-- Senders that are blocked no more: the `cleared` ones, and with `knows_all` every other one that is not among the `blocked`.
UPDATE senders
   SET stuck = NULL, stuck_since = NULL, unexplained = NULL
 WHERE chain_id = %(chain_id)s AND stuck IS NOT NULL
   AND (sender = ANY (%(cleared)s::text[]) OR (%(knows_all)s::boolean AND sender <> ALL (%(blocked)s::text[])))
RETURNING sender;

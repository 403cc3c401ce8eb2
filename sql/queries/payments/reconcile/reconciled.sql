-- All that the chain and the mempools show of a sender is recorded. No row: a payer has seen more meanwhile.
UPDATE senders SET unknown_below = NULL, unknown_since = NULL
 WHERE chain_id = %(chain_id)s AND sender = %(sender)s AND unknown_below = %(unknown_below)s
RETURNING sender;

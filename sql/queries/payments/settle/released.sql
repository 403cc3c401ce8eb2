-- The nonces of senders that an operator has released (release_sender), and when.
SELECT sender, released, released_at
  FROM senders
 WHERE chain_id = %(chain_id)s AND sender = ANY (%(senders)s::text[]) AND released IS NOT NULL;

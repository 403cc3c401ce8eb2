-- The nonces of senders that a person has vouched for (release_sender), and when.
SELECT sender, released, released_at
  FROM senders
 WHERE chain_id = %(chain_id)s AND sender = ANY (%(senders)s::text[]) AND released IS NOT NULL;

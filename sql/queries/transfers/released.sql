-- The nonces of senders that a person has vouched for (release_sender), from `first` to before `stop`, and when.
SELECT sender, lower(released) AS first, upper(released) AS stop, released_at
  FROM senders
 WHERE chain_id = %(chain_id)s AND sender = ANY (%(senders)s::text[]) AND released IS NOT NULL;

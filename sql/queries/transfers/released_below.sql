-- The nonces of senders that a person has vouched for (release_sender).
SELECT sender, released_below FROM senders
 WHERE chain_id = %(chain_id)s AND sender = ANY (%(senders)s::text[]) AND released_below IS NOT NULL;

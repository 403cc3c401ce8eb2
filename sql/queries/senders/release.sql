-- A sender may pay again, as a person has looked at what it did: what was said of it.
SELECT release_sender(%(chain)s, %(sender)s, %(last_nonce)s, %(admin)s) AS reason;

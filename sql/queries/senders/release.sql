-- Lets a sender pay again, once an operator has checked what it did: the reason for which it waited.
SELECT release_sender(%(chain)s, %(sender)s, %(last_nonce)s, %(admin)s) AS reason;

-- Whoever changes the nonces of a sender does so alone, until commit.
SELECT lock_sender(%(chain_id)s, %(sender)s);

-- Doubts a sender of whom a node showed more than the books know by now: all of ours was in them before it was sent.
SELECT doubt_sender(%(chain_id)s, %(sender)s, %(counted)s) AS doubted
 WHERE %(counted)s > next_nonce(%(chain_id)s, %(sender)s);

-- A node shows transactions of a sender that the books do not know: rings the confirmation worker (sql/functions/senders.sql).
SELECT doubt_sender(%(chain_id)s, %(sender)s, %(counted)s) AS doubted;

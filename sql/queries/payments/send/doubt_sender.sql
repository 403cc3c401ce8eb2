-- A node shows transactions of a sender that the database does not have: notifies the confirmation worker (sql/functions/senders.sql).
SELECT doubt_sender(%(chain_id)s, %(sender)s, %(counted)s) AS doubted;

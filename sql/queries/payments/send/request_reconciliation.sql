-- A node shows transactions of a sender that the database does not have: notifies the confirmation worker (sql/functions/senders.sql).
SELECT request_reconciliation(%(chain_id)s, %(sender)s, %(counted)s) AS noted;
